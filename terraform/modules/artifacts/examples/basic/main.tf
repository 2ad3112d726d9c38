# Four buckets with S3's own encryption. Nothing is uploaded.

provider "aws" {
  region = "us-east-1"
}

variable "name" {
  description = "Start of the buckets' names."
  type        = string
  default     = "artifacts-basic"
}

module "artifacts" {
  source = "../.."

  name = var.name
}

output "buckets" {
  description = "The buckets by purpose."
  value       = module.artifacts.buckets
}
