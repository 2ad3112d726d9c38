# Two instances at least, so that one may fail and a canary be one of them; updates that the alarms roll back; a key of
# its own; models, runs and logs that outlive the deployment. The training instance and the notebook stay off here: ask
# with -var create_training_instance=true.
environment = "prod"

create_kms_key           = true
autoscaling_min_capacity = 2
log_retention_days       = 365
alarm_emails             = [] # a topic to subscribe to; addresses here are asked by AWS

endpoint_deployment = {
  strategy = "CANARY"
  step     = { value = 50 }
}

endpoint_data_capture = {
  sampling_percentage = 10
}
