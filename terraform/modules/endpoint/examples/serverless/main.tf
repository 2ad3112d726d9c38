# A serverless endpoint: no instances, no cost while nobody asks.

provider "aws" {
  region = "us-east-1"
}

variable "name" {
  description = "Name of the endpoint, and start of the bucket's."
  type        = string
  default     = "endpoint-serverless"
}

variable "model_archive" {
  description = "A model.tar.gz that training wrote."
  type        = string
  default     = "model.tar.gz"
}

variable "memory_size_mb" {
  description = "Memory of one environment; its share of CPU grows with it."
  type        = number
  default     = 3072
}

module "bucket" {
  source = "../fixtures/bucket"

  name = var.name
}

module "endpoint" {
  source = "../.."

  name          = var.name
  model_archive = var.model_archive
  model_upload  = { bucket = module.bucket.bucket }

  serverless = {
    memory_size_mb  = var.memory_size_mb
    max_concurrency = 5
  }
}

output "endpoint_name" {
  description = "aws sagemaker-runtime invoke-endpoint --endpoint-name NAME --content-type image/jpeg --body fileb://dog.jpg answer.json"
  value       = module.endpoint.name
}
