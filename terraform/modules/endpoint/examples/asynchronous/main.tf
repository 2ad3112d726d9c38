# An asynchronous endpoint: requests lie in S3, answers are written there, and topics hear of them.

provider "aws" {
  region = "us-east-1"
}

variable "name" {
  description = "Name of the endpoint, and start of the bucket's."
  type        = string
  default     = "endpoint-async"
}

variable "model_archive" {
  description = "A model.tar.gz that training wrote."
  type        = string
  default     = "model.tar.gz"
}

variable "concurrency" {
  description = "Most requests that one instance works on at once."
  type        = number
  default     = 4
}

module "bucket" {
  source = "../fixtures/bucket"

  name = var.name
}

resource "aws_sns_topic" "this" {
  for_each = toset(["answers", "failures"])

  name              = "${var.name}-${each.key}"
  kms_master_key_id = "alias/aws/sns"
}

module "endpoint" {
  source = "../.."

  name          = var.name
  model_archive = var.model_archive
  model_upload  = { bucket = module.bucket.bucket }

  asynchronous = {
    input_s3_uris                           = ["s3://${module.bucket.bucket}/requests"]
    output_s3_uri                           = "s3://${module.bucket.bucket}/answers"
    failure_s3_uri                          = "s3://${module.bucket.bucket}/failures"
    max_concurrent_invocations_per_instance = var.concurrency
    success_topic_arn                       = aws_sns_topic.this["answers"].arn
    error_topic_arn                         = aws_sns_topic.this["failures"].arn
  }
}

output "endpoint_name" {
  description = "aws sagemaker-runtime invoke-endpoint-async --endpoint-name NAME --content-type image/jpeg --input-location s3://BUCKET/requests/dog.jpg"
  value       = module.endpoint.name
}

output "bucket" {
  description = "Put requests under requests/; answers come under answers/."
  value       = module.bucket.bucket
}
