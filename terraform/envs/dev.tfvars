# The cheapest deployment that is still the whole line; destroy leaves nothing. Cheaper still at rest, at the price of
# cold starts of seconds: -var 'endpoint_serverless={}'.
environment = "dev"

artifacts_force_destroy  = true
autoscaling_max_capacity = 2
create_dashboard         = false
log_retention_days       = 7
