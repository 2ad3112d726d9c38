variable "name" {
  description = "Name of the notebook instance, unique in the account and region; also the start of its role's name."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,54}$", var.name)) && length(var.name) <= 55
    error_message = "A notebook's name has 1 to 55 letters, digits and hyphens, and neither starts nor ends with a hyphen."
  }
}

variable "instance_type" {
  description = "Type of the notebook instance."
  type        = string
  default     = "ml.t3.medium"

  validation {
    condition     = can(regex("^ml\\.[a-z0-9-]+\\.[a-z0-9]+$", var.instance_type))
    error_message = "Notebook instance types start with \"ml.\", as in ml.t3.medium."
  }
}

variable "volume_size" {
  description = "Size of the notebook's disk in GB."
  type        = number
  default     = 20

  validation {
    condition     = var.volume_size >= 5 && var.volume_size <= 16384
    error_message = "A notebook's disk has 5 to 16384 GB."
  }
}

variable "bucket" {
  description = "Bucket of the deployment's artifacts."
  type        = string
}

variable "read_prefixes" {
  description = "Prefixes of the bucket that the notebook may read."
  type        = list(string)
  default     = ["data/", "models/", "training/"]

  validation {
    condition     = alltrue([for prefix in var.read_prefixes : can(regex("^[A-Za-z0-9/_.-]+/$", prefix))])
    error_message = "Each prefix must end with \"/\", such as data/."
  }
}

variable "write_prefix" {
  description = "Prefix of the bucket that the notebook may read and write."
  type        = string
  default     = "runs/"

  validation {
    condition     = can(regex("^[A-Za-z0-9/_.-]+/$", var.write_prefix))
    error_message = "Give a prefix that ends with \"/\", such as runs/."
  }
}

variable "endpoint_arn" {
  description = "ARN of the endpoint that the notebook may ask; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.endpoint_arn == null || can(regex("^arn:[^:]+:sagemaker:[^:]+:\\d{12}:endpoint/[^*]+$", var.endpoint_arn))
    error_message = "Give the ARN of one endpoint, such as arn:aws:sagemaker:us-east-1:123456789012:endpoint/whippet-dev."
  }
}

variable "notebook_files" {
  description = "Notebooks on this machine that lie in the instance's home when it starts. One that is there already stays as it is."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for file in var.notebook_files : can(regex("^[A-Za-z0-9_.-]+\\.ipynb$", basename(file)))])
    error_message = "Notebooks are files NAME.ipynb, with letters, digits, dots, hyphens and underscores."
  }
}

variable "notebooks_prefix" {
  description = "Prefix of the bucket that notebook_files are uploaded to."
  type        = string
  default     = "notebooks/"

  validation {
    condition     = can(regex("^[A-Za-z0-9/_.-]+/$", var.notebooks_prefix))
    error_message = "Give a prefix that ends with \"/\", such as notebooks/."
  }
}

variable "idle_minutes" {
  description = "Minutes without a running cell, and without a kernel or terminal in use, after which the instance stops; null lets it run on, at the hourly price."
  type        = number
  default     = 60

  validation {
    condition     = var.idle_minutes == null ? true : var.idle_minutes >= 10 && var.idle_minutes <= 1440 && floor(var.idle_minutes) == var.idle_minutes
    error_message = "Give 10 to 1440 whole minutes, or null for never: it is looked at every five."
  }
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that encrypts the notebook's disk and the bucket; null for AWS's own keys."
  type        = string
  default     = null
}

variable "kms_key_alias" {
  description = "Alias of that key, such as alias/whippet-prod. The role's policy then names the alias, so that a plan shows the policy before the key exists; null names kms_key_arn."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_alias == null || can(regex("^alias/[a-zA-Z0-9/_-]+$", var.kms_key_alias))
    error_message = "An alias starts with \"alias/\"."
  }
}

variable "permissions_boundary_arn" {
  description = "ARN of the policy that bounds what the notebook's role may ever do; null for none."
  type        = string
  default     = null
}

variable "subnet_id" {
  description = "Private subnet of your VPC to put the notebook into. It then reaches only what the subnet leads to, which must include S3, SageMaker and CloudWatch Logs; null for SageMaker's own network, with the internet."
  type        = string
  default     = null
}

variable "security_group_ids" {
  description = "Security groups of the notebook in that subnet; null without one."
  type        = set(string)
  default     = null

  validation {
    condition     = (var.security_group_ids == null) == (var.subnet_id == null)
    error_message = "Set subnet_id and security_group_ids together, or neither."
  }
}
