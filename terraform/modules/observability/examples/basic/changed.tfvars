function_timeout = 10
