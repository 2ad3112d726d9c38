"""SageMaker training and tuning jobs."""
