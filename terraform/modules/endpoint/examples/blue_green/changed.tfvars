wait_seconds = 2
environment  = { SAGEMAKER_MODEL_SERVER_TIMEOUT = "30" }
