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
  description = "ARN of the endpoint that the notebook may ask."
  type        = string
}

variable "direct_internet_access" {
  description = "Reach the internet through SageMaker's own network. Turn it off to go through subnet_id only."
  type        = bool
  default     = true

  validation {
    condition     = var.direct_internet_access || var.subnet_id != null
    error_message = "Without direct internet access the notebook needs a subnet_id, and security_group_ids with it."
  }
}

variable "subnet_id" {
  description = "Subnet of your VPC to put the notebook into; null for none."
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
