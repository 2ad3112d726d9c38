sampling_percentage = 20
challenger_weight   = 3
wait_seconds        = 2
