# The cheapest deployment that is still the whole line; destroy leaves nothing.
environment = "dev"

artifacts_force_destroy  = true
autoscaling_max_capacity = 2
log_retention_days       = 7
