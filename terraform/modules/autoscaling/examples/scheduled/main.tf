# More instances on working days than at night and on weekends, by invocations per minute in between.

provider "aws" {
  region = "us-east-1"
}

variable "name" {
  description = "Name of the endpoint, and start of the bucket's."
  type        = string
  default     = "autoscaling-hours"
}

variable "model_archive" {
  description = "A model.tar.gz that training wrote."
  type        = string
  default     = "model.tar.gz"
}

variable "target_value" {
  description = "Invocations per instance and minute that scaling aims at, from a load test of one instance."
  type        = number
  default     = 600
}

variable "day_capacity" {
  description = "Fewest instances on working days."
  type        = number
  default     = 2
}

module "bucket" {
  source = "../../../endpoint/examples/fixtures/bucket"

  name = var.name
}

module "endpoint" {
  source = "../../../endpoint"

  name          = var.name
  model_archive = var.model_archive
  model_upload  = { bucket = module.bucket.bucket }
}

module "autoscaling" {
  source = "../.."

  endpoint_name = module.endpoint.name
  variant_name  = module.endpoint.variant_name
  instance_type = module.endpoint.variants[module.endpoint.variant_name].instance_type

  metric            = "SageMakerVariantInvocationsPerInstance"
  target_value      = var.target_value
  scale_in_cooldown = 300

  scheduled_actions = {
    morning = {
      schedule     = "cron(0 7 ? * MON-FRI *)"
      timezone     = "Europe/Berlin"
      min_capacity = var.day_capacity
      max_capacity = 5
    }
    evening = {
      schedule     = "cron(0 19 ? * MON-FRI *)"
      timezone     = "Europe/Berlin"
      min_capacity = 1
      max_capacity = 2
    }
  }
}

output "resource_id" {
  description = "aws application-autoscaling describe-scheduled-actions --service-namespace sagemaker --resource-id ID"
  value       = module.autoscaling.resource_id
}
