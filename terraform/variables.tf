################################################################################
# Deployment
################################################################################

variable "name" {
  description = "Name of the system. With the environment it starts every resource's name, and is unique in the account."
  type        = string
  default     = "whippet"

  validation {
    # With the environment's 15 it stays within the 36 characters that an endpoint configuration's prefix may have.
    condition     = can(regex("^[a-z][a-z0-9-]{0,18}[a-z0-9]$", var.name))
    error_message = "Use 2 to 20 lower-case letters, digits and hyphens; start with a letter, and do not end with a hyphen."
  }
}

variable "environment" {
  description = "Which deployment this is, such as local, dev or prod. envs/ENVIRONMENT.tfvars holds its settings."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{0,14}$", var.environment))
    error_message = "Use 1 to 15 lower-case letters and digits, starting with a letter: dev, prod, staging2."
  }
}

variable "region" {
  description = "AWS region to deploy to."
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-\\d$", var.region))
    error_message = "Give the region's code, such as us-east-1 or eu-central-1."
  }
}

variable "local_aws_url" {
  description = "Address of local AWS (`whippet local up`), such as http://127.0.0.1:4566. Null deploys to AWS."
  type        = string
  default     = null

  validation {
    condition     = var.local_aws_url == null || can(regex("^https?://[^/]+$", var.local_aws_url))
    error_message = "Give scheme, host and port only, such as http://127.0.0.1:4566, or null for AWS."
  }
}

variable "tags" {
  description = "More tags for every resource, beside Project, Environment and ManagedBy."
  type        = map(string)
  default     = {}
}

################################################################################
# Artifacts
################################################################################

variable "model_archive" {
  description = "The trained model, relative to this folder. A changed file updates the endpoint."
  type        = string
  default     = "../build/model.tar.gz"
}

variable "lambda_zip" {
  description = "The Lambda's deployment zip, relative to this folder. A changed file updates the function."
  type        = string
  default     = "../build/lambda.zip"
}

variable "training_package" {
  description = "The training package, relative to this folder. A changed file replaces the training instance."
  type        = string
  default     = "../build/training.tar.gz"
}

variable "artifacts_force_destroy" {
  description = "Let destroy delete the bucket with everything in it, photos and training runs included."
  type        = bool
  default     = false
}

################################################################################
# Training instance and notebook
################################################################################

variable "create_training_instance" {
  description = "Create an EC2 instance that trains once when it starts. It needs photos under data/ in the artifacts bucket."
  type        = bool
  default     = false
}

variable "training_instance_type" {
  description = "Type of the training instance."
  type        = string
  default     = "t3.large"
}

variable "training_ami_id" {
  description = "AMI of the training instance; null for AWS's Deep Learning AMI with PyTorch 2.5."
  type        = string
  default     = null
}

variable "training_hyperparameters" {
  description = "Fixed hyperparameters of the training instance: each becomes a flag of whippet_training.train."
  type        = map(string)
  default     = { seed = "0" }
}

variable "training_session_manager" {
  description = "Let Session Manager open a shell on the training instance."
  type        = bool
  default     = false
}

variable "create_notebook" {
  description = "Create a SageMaker notebook instance. It costs by the hour until it is stopped."
  type        = bool
  default     = false
}

variable "notebook_instance_type" {
  description = "Type of the notebook instance."
  type        = string
  default     = "ml.t3.medium"
}

################################################################################
# Endpoint and its scaling
################################################################################

variable "inference_image" {
  description = "Amazon ECR image that serves the model; null for AWS's stock PyTorch CPU container of the region."
  type        = string
  default     = null
}

variable "inference_environment" {
  description = "More environment variables for the serving container. No secrets."
  type        = map(string)
  default     = {}
}

variable "inference_network_isolation" {
  description = "Cut the serving container off from every network."
  type        = bool
  default     = true
}

variable "endpoint_instance_type" {
  description = "Type of the hosting instances; burstable ones cannot autoscale and are refused."
  type        = string
  default     = "ml.m5.large"
}

variable "autoscaling_min_capacity" {
  description = "Fewest hosting instances, and the number that the endpoint starts with."
  type        = number
  default     = 1
}

variable "autoscaling_max_capacity" {
  description = "Most hosting instances."
  type        = number
  default     = 5
}

variable "autoscaling_metric" {
  description = "Metric that scaling tracks: SageMakerVariantConcurrentRequestsPerModelHighResolution or SageMakerVariantInvocationsPerInstance."
  type        = string
  default     = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
}

variable "autoscaling_target_value" {
  description = "Value of the metric that scaling aims at. Null stands for 1 concurrent request, the highest with which 5 callers at once can reach 5 instances."
  type        = number
  default     = null
}

variable "autoscaling_scale_in_cooldown" {
  description = "Seconds between two scale-in actions."
  type        = number
  default     = 30
}

variable "autoscaling_scale_out_cooldown" {
  description = "Seconds between two scale-out actions."
  type        = number
  default     = 30
}

################################################################################
# Lambda
################################################################################

variable "lambda_architecture" {
  description = "Processor of the Lambda: arm64 (a fifth cheaper) or x86_64."
  type        = string
  default     = "arm64"
}

variable "lambda_memory_size" {
  description = "Memory of one Lambda environment in MB."
  type        = number
  default     = 256
}

variable "lambda_timeout" {
  description = "Seconds after which Lambda ends a call."
  type        = number
  default     = 30
}

variable "lambda_reserved_concurrency" {
  description = "Most calls answered at once; -1 reserves nothing, for accounts whose quota is too low to reserve."
  type        = number
  default     = 5
}

variable "lambda_allowed_url_hosts" {
  description = "Hosts that {\"url\": ...} events may name, such as images.example.org or *.example.org. Empty turns such events off."
  type        = list(string)
  default     = []
}

variable "lambda_photo_read_arns" {
  description = "ARN patterns of the S3 objects that {\"s3\": ...} events may name. Empty turns such events off."
  type        = list(string)
  default     = []
}

variable "lambda_create_function_url" {
  description = "Give the Lambda an HTTPS URL for signed requests."
  type        = bool
  default     = false
}

################################################################################
# Observability
################################################################################

variable "log_retention_days" {
  description = "Days that the logs of the endpoint and of the Lambda are kept."
  type        = number
  default     = 30
}

variable "alarm_actions" {
  description = "ARNs of the SNS topics that hear of alarms."
  type        = list(string)
  default     = []
}
