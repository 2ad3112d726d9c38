idle_minutes  = 120
volume_size   = 30
endpoint_name = "cats"
