# Four buckets with S3's own encryption. Nothing is uploaded.

provider "aws" {
  region = "us-east-1"
}

variable "name" {
  description = "Start of the buckets' names."
  type        = string
  default     = "artifacts-basic"
}

variable "force_destroy" {
  description = "Let destroy delete what is in the buckets."
  type        = bool
  default     = false
}

module "artifacts" {
  source = "../.."

  name          = var.name
  force_destroy = var.force_destroy
}

output "buckets" {
  description = "The buckets by purpose."
  value       = module.artifacts.buckets
}
