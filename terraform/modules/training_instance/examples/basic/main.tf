# Waits for start_command, on demand, in the default VPC, on a processor.

provider "aws" {
  region = "us-east-1"
}

variable "name" {
  description = "Start of the names of what the module makes."
  type        = string
  default     = "training-basic"
}

module "artifacts" {
  source = "../../../artifacts"

  name             = var.name
  force_destroy    = true
  training_package = "${path.module}/training.tar.gz"
}

module "training" {
  source = "../.."

  name                    = var.name
  bucket                  = module.artifacts.bucket
  training_package_s3_uri = module.artifacts.training_package_s3_uri
  train_on_apply          = false
}

output "start_command" {
  description = "Starts a run."
  value       = module.training.start_command
}
