# A notebook for one bucket. It stops after an hour of nobody using it.

provider "aws" {
  region = "us-east-1"
}

variable "instance_type" {
  description = "Type of the notebook instance."
  type        = string
  default     = "ml.t3.medium"
}

data "aws_caller_identity" "this" {}

resource "aws_s3_bucket" "photos" {
  bucket        = "notebook-basic-${data.aws_caller_identity.this.account_id}"
  force_destroy = true
}

module "notebook" {
  source = "../.."

  name          = "notebook-basic"
  bucket        = aws_s3_bucket.photos.bucket
  instance_type = var.instance_type
}

output "open_command" {
  description = "Command that prints the notebook's address."
  value       = module.notebook.open_command
}
