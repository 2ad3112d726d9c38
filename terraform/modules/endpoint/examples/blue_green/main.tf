# An update goes to a canary first, is watched by an alarm, and is rolled back where the canary fails.

provider "aws" {
  region = "us-east-1"
}

variable "name" {
  description = "Name of the endpoint, and start of the bucket's."
  type        = string
  default     = "endpoint-canary"
}

variable "model_archive" {
  description = "A model.tar.gz that training wrote."
  type        = string
  default     = "model.tar.gz"
}

variable "wait_seconds" {
  description = "How long the canary is watched, and then the whole new fleet."
  type        = number
  default     = 300
}

variable "environment" {
  description = "More environment variables for the container; a change is an update."
  type        = map(string)
  default     = {}
}

module "bucket" {
  source = "../fixtures/bucket"

  name = var.name
}

# It names the endpoint as a string, and so is there before it. Missing data is fine: nobody asked.
resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${var.name}-5xx"
  alarm_description   = "More than one call in a hundred failed at the endpoint ${var.name}."
  namespace           = "AWS/SageMaker"
  metric_name         = "Invocation5XXErrors"
  dimensions          = { EndpointName = var.name, VariantName = "AllTraffic" }
  statistic           = "Average"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0.01
  treat_missing_data  = "notBreaching"
}

module "endpoint" {
  source = "../.."

  name                   = var.name
  model_archive          = var.model_archive
  model_upload           = { bucket = module.bucket.bucket }
  environment            = var.environment
  initial_instance_count = 2

  deployment = {
    strategy                 = "CANARY"
    step                     = { type = "INSTANCE_COUNT", value = 1 }
    wait_seconds             = var.wait_seconds
    termination_wait_seconds = 0
    rollback_alarm_names     = [aws_cloudwatch_metric_alarm.errors.alarm_name]
  }
}

output "endpoint_name" {
  description = "Name of the endpoint."
  value       = module.endpoint.name
}
