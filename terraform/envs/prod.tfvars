# The training instance and the notebook stay off here: ask with -var create_training_instance=true. Models and runs
# outlive the deployment.
environment = "prod"

log_retention_days = 365
