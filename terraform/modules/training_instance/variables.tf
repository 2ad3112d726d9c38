variable "name" {
  description = "Start of the names of the instance, its security group and its role."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9-]{1,55}$", var.name))
    error_message = "Use 1 to 55 letters, digits and hyphens: the role's name adds \"-training\" and may have 64."
  }
}

variable "region" {
  description = "Region of the instance and of the bucket."
  type        = string
}

variable "instance_type" {
  description = "Type of the instance. Features are computed on the processor, so t3.large does; a GPU pays only for fine-tuning the backbone."
  type        = string
  default     = "t3.large"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.instance_type)) && !startswith(var.instance_type, "ml.")
    error_message = "Give an EC2 instance type, such as t3.large; types that start with \"ml.\" are SageMaker's."
  }
}

variable "ami_ssm_parameter" {
  description = "Public SSM parameter that holds the AMI's id: AWS's Deep Learning AMI with PyTorch 2.5 unless told otherwise."
  type        = string
  default     = "/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.5-ubuntu-22.04/latest/ami-id"

  validation {
    condition     = startswith(var.ami_ssm_parameter, "/")
    error_message = "The name of an SSM parameter starts with \"/\"."
  }
}

variable "ami_id" {
  description = "AMI to use instead of the parameter's. It needs Python 3 with PyTorch, and the aws command."
  type        = string
  default     = null

  validation {
    condition     = var.ami_id == null || can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "An AMI's id looks like ami-0123456789abcdef0."
  }
}

variable "volume_size" {
  description = "Size of the encrypted root disk in GiB: room for the AMI, the photos and their cached features."
  type        = number
  default     = 100

  validation {
    condition     = var.volume_size >= 8 && var.volume_size <= 16384
    error_message = "A root disk has 8 to 16384 GiB, and never less than the AMI's snapshot."
  }
}

variable "vpc_id" {
  description = "VPC of the instance; null for the account's default VPC. Set subnet_id with it."
  type        = string
  default     = null

  validation {
    condition     = (var.vpc_id == null) == (var.subnet_id == null)
    error_message = "Set vpc_id and subnet_id together, or neither for the default VPC."
  }
}

variable "subnet_id" {
  description = "Subnet of the instance, with a way out to S3 by HTTPS; null for a default subnet."
  type        = string
  default     = null
}

variable "bucket" {
  description = "Bucket that holds the photos and the training package, and takes the runs."
  type        = string
}

variable "data_prefix" {
  description = "Where in the bucket the photos lie, as SPLIT/CLASS/* below it. The instance reads here and nowhere else."
  type        = string
  default     = "data/"

  validation {
    condition     = can(regex("^[A-Za-z0-9/_.-]+/$", var.data_prefix))
    error_message = "Give a prefix that ends with \"/\", such as data/."
  }
}

variable "runs_prefix" {
  description = "Where in the bucket each run leaves its model, metrics and log. The instance writes here and nowhere else."
  type        = string
  default     = "runs/"

  validation {
    condition     = can(regex("^[A-Za-z0-9/_.-]+/$", var.runs_prefix))
    error_message = "Give a prefix that ends with \"/\", such as runs/."
  }
}

variable "training_package_s3_uri" {
  description = "The training package, s3://BUCKET/KEY.zip or .tar.gz: whippet_training, and optionally a requirements.txt, at its root."
  type        = string

  validation {
    condition     = can(regex("^s3://[^/]+/[A-Za-z0-9/_.-]+\\.(zip|tar\\.gz)$", var.training_package_s3_uri))
    error_message = "Give the package as s3://BUCKET/KEY.zip or s3://BUCKET/KEY.tar.gz."
  }
}

variable "hyperparameters" {
  description = "Fixed hyperparameters: each becomes a flag of whippet_training.train, so { seed = 0 } becomes --seed 0."
  type        = map(string)
  default     = { seed = "0" }

  validation {
    # They go into a shell script between single quotes.
    condition     = alltrue([for name, value in var.hyperparameters : can(regex("^[a-z][a-z0-9-]*$", name)) && can(regex("^[A-Za-z0-9_.,+-]+$", value))])
    error_message = "A hyperparameter's name has lower-case letters, digits and hyphens; its value letters, digits and any of _ . , + -"
  }
}

variable "stop_when_done" {
  description = "Stop the instance when training ends, well or not; a stopped instance costs only its disk."
  type        = bool
  default     = true
}

variable "session_manager" {
  description = "Let Systems Manager Session Manager open a shell on the instance. There is no SSH."
  type        = bool
  default     = false
}
