# A real-time endpoint on one instance: a local archive, uploaded, on the stock PyTorch container.

provider "aws" {
  region = "us-east-1"
}

variable "name" {
  description = "Name of the endpoint, and start of the bucket's."
  type        = string
  default     = "endpoint-basic"
}

variable "model_archive" {
  description = "A model.tar.gz that training wrote."
  type        = string
  default     = "model.tar.gz"
}

variable "log_retention_days" {
  description = "Days that the container's logs are kept."
  type        = number
  default     = 7
}

variable "environment" {
  description = "More environment variables for the container; a change makes a new model, to which the endpoint moves while it serves."
  type        = map(string)
  default     = {}
}

module "bucket" {
  source = "../fixtures/bucket"

  name = var.name
}

module "endpoint" {
  source = "../.."

  name               = var.name
  model_archive      = var.model_archive
  model_upload       = { bucket = module.bucket.bucket }
  environment        = var.environment
  log_retention_days = var.log_retention_days
}

output "endpoint_name" {
  description = "aws sagemaker-runtime invoke-endpoint --endpoint-name NAME --content-type image/jpeg --body fileb://dog.jpg answer.json"
  value       = module.endpoint.name
}
