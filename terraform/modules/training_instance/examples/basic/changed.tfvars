time_limit_minutes = 120
