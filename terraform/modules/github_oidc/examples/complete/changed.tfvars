environments        = ["prod", "prod-eu"]
branch              = "release"
parts               = ["artifacts", "autoscaling", "endpoint", "lambda", "observability", "notebook"]
max_session_seconds = 3600
workspace           = "prod2"
