time_limit_minutes = 60
log_retention_days = 14
