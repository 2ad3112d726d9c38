variable "bucket" {
  description = "Name of the bucket. Bucket names are global to AWS, so put the account's id into it."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits and hyphens, and starts and ends with a letter or a digit."
  }
}

variable "force_destroy" {
  description = "Delete the bucket with everything in it on destroy. Leave off where models or training runs must outlive the deployment."
  type        = bool
  default     = false
}

variable "model_archive" {
  description = "Path of the trained model's model.tar.gz, relative to the folder Terraform runs in. Uploaded under models/HASH/."
  type        = string

  validation {
    condition     = endswith(var.model_archive, ".tar.gz")
    error_message = "SageMaker takes a model as a .tar.gz archive: give the path of a model.tar.gz that training wrote."
  }
}

variable "training_package" {
  description = "Path of the training package that scripts/build_training.py wrote, relative to the folder Terraform runs in. Uploaded under training/HASH/."
  type        = string

  validation {
    condition     = can(regex("\\.(zip|tar\\.gz)$", var.training_package))
    error_message = "The training package is a .zip or a .tar.gz, as scripts/build_training.py writes it."
  }
}
