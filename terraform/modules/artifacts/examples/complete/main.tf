# Own KMS key, a model archive, a training package, short retention; destroy takes everything along.

provider "aws" {
  region = "us-east-1"
}

variable "name" {
  description = "Start of the buckets' names, and the key's alias."
  type        = string
  default     = "artifacts-complete"
}

variable "data_capture_days" {
  description = "Days that captured requests are kept."
  type        = number
  default     = 14
}

# Two small files stand for what training and scripts/build_training.py write.
module "artifacts" {
  source = "../.."

  name             = var.name
  force_destroy    = true
  model_archive    = "${path.module}/model.tar.gz"
  training_package = "${path.module}/training.tar.gz"

  create_kms_key               = true
  kms_key_deletion_window_days = 7

  retention_days = {
    data_capture = var.data_capture_days
    logs         = 90
    noncurrent   = 30
  }
}

output "model_s3_uri" {
  description = "Where the model archive lies."
  value       = module.artifacts.model_s3_uri
}

output "kms_key_arn" {
  description = "The key that encrypts models, code and data capture."
  value       = module.artifacts.kms_key_arn
}
