# Waits for start_command, on demand, in the default VPC, on a processor.

provider "aws" {
  region = "us-east-1"
}

variable "name" {
  description = "Start of the names of what the module makes."
  type        = string
  default     = "training-basic"
}

variable "time_limit_minutes" {
  description = "Minutes after which a run ends whatever happens."
  type        = number
  default     = 240
}

module "artifacts" {
  source = "../../../artifacts"

  name             = var.name
  force_destroy    = true
  training_package = "${path.module}/training.tar.gz"
  retention_days   = null
}

module "training" {
  source = "../.."

  name                    = var.name
  bucket                  = module.artifacts.bucket
  training_package_s3_uri = module.artifacts.training_package_s3_uri
  train_on_apply          = false
  time_limit_minutes      = var.time_limit_minutes
}

output "start_command" {
  description = "Starts a run."
  value       = module.training.start_command
}
