# A notebook for one bucket. It stops after an hour of nobody using it.

provider "aws" {
  region = "us-east-1"
}

variable "instance_type" {
  description = "Type of the notebook instance."
  type        = string
  default     = "ml.t3.medium"
}

module "artifacts" {
  source = "../../../artifacts"

  name           = "notebook-basic"
  force_destroy  = true
  retention_days = null
}

module "notebook" {
  source = "../.."

  name          = "notebook-basic"
  bucket        = module.artifacts.bucket
  instance_type = var.instance_type
}

output "open_command" {
  description = "Command that prints the notebook's address."
  value       = module.notebook.open_command
}
