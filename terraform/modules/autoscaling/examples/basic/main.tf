# One to five instances, by the number of requests under way.

provider "aws" {
  region = "us-east-1"
}

variable "name" {
  description = "Name of the endpoint, and start of the bucket's."
  type        = string
  default     = "autoscaling-basic"
}

variable "model_archive" {
  description = "A model.tar.gz that training wrote."
  type        = string
  default     = "model.tar.gz"
}

variable "max_capacity" {
  description = "Most instances."
  type        = number
  default     = 5
}

variable "target_value" {
  description = "Concurrent requests on each instance that scaling aims at."
  type        = number
  default     = 1
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
  max_capacity  = var.max_capacity
  target_value  = var.target_value
}

output "resource_id" {
  description = "aws application-autoscaling describe-scaling-activities --service-namespace sagemaker --resource-id ID"
  value       = module.autoscaling.resource_id
}
