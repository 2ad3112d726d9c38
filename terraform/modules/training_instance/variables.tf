variable "name" {
  description = "Start of the names of everything the module makes: NAME-training, /NAME/training, /NAME/model-s3-uri."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9-]{1,55}$", var.name))
    error_message = "Use 1 to 55 letters, digits and hyphens: the role's name adds \"-training\" and may have 64."
  }

  validation {
    # https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html
    condition     = !can(regex("^(aws|ssm)", lower(var.name)))
    error_message = "Systems Manager keeps parameter names that start with aws or ssm for itself."
  }
}

################################################################################
# Machine
################################################################################

variable "instance_type" {
  description = "Type of the instance. Features are computed on the processor, so t3.large does; a GPU pays only for fine-tuning the backbone."
  type        = string
  default     = "t3.large"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.instance_type)) && !startswith(var.instance_type, "ml.")
    error_message = "Give an EC2 instance type, such as t3.large; types that start with \"ml.\" are SageMaker's."
  }
}

variable "spot" {
  description = <<-EOT
    Null trains on demand. An object trains on spot capacity, goes on after an interruption on another instance, and may set:
    - max_usd_per_hour: the most to pay (default: the on-demand price, as AWS advises)
    - other_instance_types: types to take as well where they are cheaper or less likely to be interrupted
  EOT
  type = object({
    max_usd_per_hour     = optional(number)
    other_instance_types = optional(list(string), [])
  })
  default = null

  validation {
    condition     = try(var.spot.max_usd_per_hour, null) == null || try(var.spot.max_usd_per_hour > 0, false)
    error_message = "max_usd_per_hour is above 0, or absent for the on-demand price."
  }

  validation {
    condition     = alltrue([for type in try(var.spot.other_instance_types, []) : can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", type)) && !startswith(type, "ml.")])
    error_message = "other_instance_types are EC2 instance types, such as m6i.large."
  }
}

variable "ami_family" {
  description = "\"cpu\" is Amazon Linux 2023, onto which the run installs PyTorch; \"gpu\" is AWS's Deep Learning AMI with PyTorch 2.10. Null chooses by the instance type."
  type        = string
  default     = null

  validation {
    condition     = var.ami_family == null || contains(["cpu", "gpu"], coalesce(var.ami_family, "-"))
    error_message = "Choose \"cpu\" or \"gpu\", or null for what the instance type has."
  }
}

variable "ami_ssm_parameter" {
  description = "Public (or own) SSM parameter that holds the AMI's id. Null is ami_family's."
  type        = string
  default     = null

  validation {
    condition     = var.ami_ssm_parameter == null || can(regex("^/[A-Za-z0-9/_.-]+$", var.ami_ssm_parameter))
    error_message = "The name of an SSM parameter starts with \"/\" and has letters, digits and any of / _ . -"
  }
}

variable "ami_id" {
  description = "AMI to use instead of a parameter's. It needs bash, curl, the aws command, and Python 3.11 with PyTorch or dnf to install them."
  type        = string
  default     = null

  validation {
    condition     = var.ami_id == null || can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "An AMI's id looks like ami-0123456789abcdef0."
  }

  validation {
    condition     = var.ami_id == null || var.ami_ssm_parameter == null
    error_message = "Give ami_id or ami_ssm_parameter, not both."
  }
}

variable "volume_size" {
  description = "Size of the encrypted root disk in GiB: room for the AMI, the photos and their cached features. Null is 30 for the cpu family and 100 for the gpu family."
  type        = number
  default     = null

  validation {
    condition     = var.volume_size == null || try(var.volume_size >= 8 && var.volume_size <= 16384, false)
    error_message = "A root disk has 8 to 16384 GiB, and never less than the AMI's snapshot."
  }
}

variable "volume_kms_key_arn" {
  description = "KMS key of the disk; null is AWS's own. EC2 Auto Scaling's service-linked role must be allowed to use it, which is why it is not kms_key_arn."
  type        = string
  default     = null

  validation {
    condition     = var.volume_kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:", var.volume_kms_key_arn))
    error_message = "Give the key's ARN, arn:aws:kms:REGION:ACCOUNT:key/ID."
  }
}

variable "vpc" {
  description = <<-EOT
    Null is the region's default VPC with its default subnets. An object names another one:
    - id: the VPC
    - subnet_ids: subnets to start the instance in, each with a way out by HTTPS: NAT, or VPC endpoints and pip_index_url. Several make spot capacity likelier
  EOT
  type = object({
    id         = string
    subnet_ids = list(string)
  })
  default = null

  validation {
    condition     = var.vpc == null || length(try(var.vpc.subnet_ids, [])) > 0
    error_message = "Name at least one subnet of the VPC."
  }
}

variable "session_manager" {
  description = "Let Systems Manager Session Manager open a shell on the instance. There is no SSH."
  type        = bool
  default     = true
}

################################################################################
# Run
################################################################################

variable "train_on_apply" {
  description = "Train when the module is first applied, and again when package, hyperparameters, image family or another setting of the run changes. False waits for start_command."
  type        = bool
  default     = true
}

variable "bucket" {
  description = "Bucket that holds the photos and takes runs and checkpoints."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "Give a bucket's name, without s3://."
  }
}

variable "data_prefix" {
  description = "Where in the bucket the photos lie, as SPLIT/CLASS/* below it. The instance never writes here."
  type        = string
  default     = "data/"

  validation {
    condition     = can(regex("^[A-Za-z0-9/_.-]+/$", var.data_prefix))
    error_message = "Give a prefix that ends with \"/\", such as data/."
  }
}

variable "runs_prefix" {
  description = "Where in the bucket each run leaves its model, metrics and log. The instance never reads here."
  type        = string
  default     = "runs/"

  validation {
    condition     = can(regex("^[A-Za-z0-9/_.-]+/$", var.runs_prefix))
    error_message = "Give a prefix that ends with \"/\", such as runs/."
  }
}

variable "checkpoints_prefix" {
  description = "Where in the bucket an interrupted run leaves what the next one goes on from."
  type        = string
  default     = "checkpoints/"

  validation {
    condition     = can(regex("^[A-Za-z0-9/_.-]+/$", var.checkpoints_prefix))
    error_message = "Give a prefix that ends with \"/\", such as checkpoints/."
  }
}

variable "checkpoint_interval_seconds" {
  description = "Seconds between two copies of the checkpoints to S3: at most so much work is lost where not even a spot interruption's two minutes are left."
  type        = number
  default     = 60

  validation {
    condition     = var.checkpoint_interval_seconds >= 1 && var.checkpoint_interval_seconds <= 3600 && floor(var.checkpoint_interval_seconds) == var.checkpoint_interval_seconds
    error_message = "Give 1 to 3600 whole seconds."
  }
}

variable "training_package_s3_uri" {
  description = "The training package, s3://BUCKET/KEY.zip or .tar.gz: whippet_training, and optionally a requirements.txt and wheels/, at its root."
  type        = string

  validation {
    condition     = can(regex("^s3://[^/']+/[A-Za-z0-9/_.-]+\\.(zip|tar\\.gz)$", var.training_package_s3_uri))
    error_message = "Give the package as s3://BUCKET/KEY.zip or s3://BUCKET/KEY.tar.gz."
  }
}

variable "hyperparameters" {
  description = "Fixed hyperparameters: each becomes a flag of whippet_training.train, so { seed = 0 } becomes --seed=0."
  type        = map(string)
  default     = { seed = "0" }

  validation {
    # They go into a shell script, into one string that is split at spaces.
    condition     = alltrue([for name, value in var.hyperparameters : can(regex("^[a-z][a-z0-9-]*$", name)) && can(regex("^[A-Za-z0-9_.,+-]+$", value))])
    error_message = "A hyperparameter's name has lower-case letters, digits and hyphens; its value letters, digits and any of _ . , + -"
  }
}

variable "torch_requirements" {
  description = "What pip installs where the image has no PyTorch: the versions that the project is tested with."
  type        = list(string)
  default     = ["torch==2.14.1", "torchvision==0.29.1"]

  validation {
    condition     = alltrue([for requirement in var.torch_requirements : can(regex("^[A-Za-z0-9_.-]+==[A-Za-z0-9_.+-]+$", requirement))])
    error_message = "Pin each package: NAME==VERSION."
  }
}

variable "pip_index_url" {
  description = "Package index to use instead of PyPI, such as one of your own in a VPC without internet. It holds no credentials."
  type        = string
  default     = null

  validation {
    condition     = var.pip_index_url == null || can(regex("^https://[A-Za-z0-9./_:-]+$", var.pip_index_url))
    error_message = "Give an https:// address without a user name or a token: user data is no place for secrets."
  }
}

variable "time_limit_minutes" {
  description = "Minutes after which the run ends whatever happens: the instance shuts itself down, and an alarm sets the group to none. Waiting for spot capacity and going on after interruptions count."
  type        = number
  default     = 240

  validation {
    # The alarm counts minutes up to a day, hours up to a week; below 10 minutes no machine has installed its packages.
    condition     = var.time_limit_minutes >= 10 && var.time_limit_minutes <= 10080 && floor(var.time_limit_minutes) == var.time_limit_minutes
    error_message = "Give 10 to 10080 whole minutes (a week)."
  }
}

variable "terminate_when_done" {
  description = "Terminate the instance when training ends, well or not. False leaves it for a look, until the time limit."
  type        = bool
  default     = true
}

################################################################################
# Shared
################################################################################

variable "kms_key_arn" {
  description = "KMS key of the bucket's objects and of the log group. Null is AWS's own encryption."
  type        = string
  default     = null
}

variable "kms_key_alias" {
  description = "Alias of kms_key_arn. Give it where the stack makes the key: the role's policy then names the key by its alias, and a plan shows it in full."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_alias == null || startswith(coalesce(var.kms_key_alias, "-"), "alias/")
    error_message = "An alias starts with \"alias/\"."
  }
}

variable "log_retention_days" {
  description = "Days that CloudWatch keeps the runs' logs; each run's folder in S3 holds its log as well."
  type        = number
  default     = 30

  validation {
    condition     = contains([0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "CloudWatch keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653 days, or with 0 for ever."
  }
}

variable "alarm_actions" {
  description = "ARNs of SNS topics that hear when the time limit ended a run."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "permissions_boundary_arn" {
  description = "ARN of the policy that bounds the role's permissions; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:[a-z-]+:iam::(\\d{12}|aws):policy/.+$", var.permissions_boundary_arn))
    error_message = "Give the policy's ARN, arn:aws:iam::ACCOUNT:policy/NAME."
  }
}
