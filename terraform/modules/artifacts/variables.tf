variable "name" {
  description = "Start of the buckets' names, NAME-ACCOUNT-PURPOSE, and the key's alias. At most 37 characters, so that the longest bucket name has S3's 63."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{0,35}[a-z0-9]$", var.name))
    error_message = "Use 2 to 37 lower-case letters, digits and hyphens; start and end with a letter or a digit."
  }

  validation {
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    condition     = !can(regex("^(xn--|sthree-|amzn-s3-demo-)", var.name))
    error_message = "S3 keeps bucket names that start with xn--, sthree- or amzn-s3-demo- for itself."
  }
}

variable "force_destroy" {
  description = "Delete the buckets with everything in them on destroy. Off by default: models, training runs and logs outlive the deployment."
  type        = bool
  default     = false
}

variable "model_archive" {
  description = "Path of the trained model's model.tar.gz, relative to the folder Terraform runs in. Uploaded under models/HASH/ in the models bucket. Null uploads none."
  type        = string
  default     = null

  validation {
    condition     = var.model_archive == null || endswith(coalesce(var.model_archive, "-"), ".tar.gz")
    error_message = "SageMaker takes a model as a .tar.gz archive: give the path of a model.tar.gz that training wrote."
  }
}

variable "training_package" {
  description = "Path of the training package that scripts/build_training.py wrote, relative to the folder Terraform runs in. Uploaded under training/HASH/ in the code bucket. Null uploads none."
  type        = string
  default     = null

  validation {
    condition     = var.training_package == null || can(regex("\\.(zip|tar\\.gz)$", var.training_package))
    error_message = "The training package is a .zip or a .tar.gz, as scripts/build_training.py writes it."
  }
}

variable "lambda_package" {
  description = "Path of a Lambda's deployment zip that is too large to be sent to Lambda itself (50 MB), as scripts/build_single_hop.py writes it, relative to the folder Terraform runs in. Uploaded under lambda/HASH/ in the code bucket. Null uploads none."
  type        = string
  default     = null

  validation {
    condition     = var.lambda_package == null || endswith(coalesce(var.lambda_package, "-"), ".zip")
    error_message = "Lambda takes a .zip, as scripts/build_single_hop.py writes it."
  }
}

variable "create_kms_key" {
  description = "Create a KMS key, rotated every year, that encrypts models, code and data capture, and that the account's log groups and alarm topics may use. One dollar a month."
  type        = bool
  default     = false
}

variable "kms_key_arn" {
  description = "ARN of a KMS key of yours that encrypts models, code and data capture. Null, without create_kms_key, is S3's own encryption (SSE-S3)."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:\\d{12}:key/.+$", var.kms_key_arn))
    error_message = "Give the key's ARN, arn:aws:kms:REGION:ACCOUNT:key/ID; an alias is no key to S3."
  }

  validation {
    condition     = var.kms_key_arn == null || !var.create_kms_key
    error_message = "Give a key (kms_key_arn) or let one be made (create_kms_key), not both."
  }
}

variable "kms_key_deletion_window_days" {
  description = "Days from destroy until the own key is gone, and with it all that it encrypted; until then it can be brought back. 30 is AWS's longest."
  type        = number
  default     = 30

  validation {
    condition     = var.kms_key_deletion_window_days >= 7 && var.kms_key_deletion_window_days <= 30
    error_message = "AWS KMS waits 7 to 30 days."
  }
}

variable "retention_days" {
  description = <<-EOT
    Days that things are kept:
    - data_capture: requests and answers that the endpoint captured (default 30)
    - logs: access logs (default 365)
    - checkpoints: what interrupted training runs go on from, under checkpoints/ in the models bucket (default 14)
    - noncurrent: versions that were overwritten or deleted, in every bucket (default 90)
    - incomplete_uploads: parts of uploads that never ended (default 7)

    Models, runs, photos and code are kept until someone deletes them. Null keeps everything, and spares an apply the 55
    seconds for which the AWS provider watches each new lifecycle configuration.
  EOT
  type = object({
    data_capture       = optional(number, 30)
    logs               = optional(number, 365)
    checkpoints        = optional(number, 14)
    noncurrent         = optional(number, 90)
    incomplete_uploads = optional(number, 7)
  })
  default = {}

  validation {
    condition     = alltrue([for days in try(values(var.retention_days), []) : days >= 1 && floor(days) == days])
    error_message = "Each is a whole number of days, at least 1."
  }
}
