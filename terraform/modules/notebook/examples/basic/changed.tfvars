instance_type = "ml.t3.large"
