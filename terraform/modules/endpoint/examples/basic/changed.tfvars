log_retention_days = 14
environment        = { SAGEMAKER_MODEL_SERVER_TIMEOUT = "30" }
