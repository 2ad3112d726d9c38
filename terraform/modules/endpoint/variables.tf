variable "name" {
  description = "Name of the endpoint, unique in the account and region; also the start of the model's, the configuration's and the role's name."
  type        = string

  validation {
    # The configuration's name adds a hyphen and the provider's 26 digits, and may have 63 characters.
    condition     = can(regex("^[a-zA-Z0-9][a-zA-Z0-9-]{0,34}[a-zA-Z0-9]$", var.name))
    error_message = "Use 2 to 36 letters, digits and hyphens, and neither starts nor ends with a hyphen."
  }
}

variable "model_s3_uri" {
  description = "The model archive, s3://BUCKET/KEY. A new model must have a new key; that is what makes the endpoint take it up."
  type        = string

  validation {
    condition     = can(regex("^s3://[^/]+/.+\\.tar\\.gz$", var.model_s3_uri))
    error_message = "Give the model as s3://BUCKET/KEY.tar.gz."
  }
}

variable "model_objects_arn" {
  description = "ARN pattern of the objects that the endpoint may read, such as arn:aws:s3:::BUCKET/models/*. It must cover the models before and after an update, which run side by side for minutes."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:s3:::[^/*]+/.+$", var.model_objects_arn))
    error_message = "Give an ARN of objects in one bucket, such as arn:aws:s3:::BUCKET/models/*."
  }
}

variable "image" {
  description = "URI of the inference image in Amazon ECR; null for AWS's stock PyTorch CPU container of the region."
  type        = string
  default     = null

  validation {
    condition     = var.image == null || can(regex("^\\d{12}\\.dkr\\.ecr\\.[a-z0-9-]+\\.[a-z0-9.-]+/[^:@]+([:@].+)?$", var.image))
    error_message = "SageMaker pulls from Amazon ECR: give ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG, or null for the stock PyTorch container."
  }
}

variable "environment" {
  description = "More environment variables for the container, such as SAGEMAKER_MODEL_SERVER_WORKERS. No secrets: DescribeModel shows them."
  type        = map(string)
  default     = {}
}

variable "network_isolation" {
  description = "Cut the container off from every network. A model from Whippet needs none; an image that installs packages as it starts does."
  type        = bool
  default     = true
}

variable "variant_name" {
  description = "Name of the production variant. Autoscaling and alarms refer to it."
  type        = string
  default     = "AllTraffic"

  validation {
    condition     = can(regex("^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$", var.variant_name))
    error_message = "A variant's name has at most 63 letters, digits and hyphens, and neither starts nor ends with a hyphen."
  }
}

variable "instance_type" {
  description = "Type of the hosting instances."
  type        = string
  default     = "ml.m5.large"

  validation {
    condition     = can(regex("^ml\\.[a-z0-9-]+\\.[a-z0-9]+$", var.instance_type))
    error_message = "Hosting instance types start with \"ml.\", as in ml.m5.large."
  }

  validation {
    # https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling.html
    condition     = !startswith(var.instance_type, "ml.t")
    error_message = "Burstable instances (ml.t2, ml.t3) cannot autoscale: choose ml.m5.large or larger, or a c5, c6i or g type."
  }
}

variable "initial_instance_count" {
  description = "Instances that the endpoint starts with; autoscaling decides afterwards."
  type        = number
  default     = 1

  validation {
    condition     = var.initial_instance_count >= 1 && floor(var.initial_instance_count) == var.initial_instance_count
    error_message = "A real-time endpoint starts with a whole number of instances, at least 1."
  }
}

variable "log_retention_days" {
  description = "Days that the container's logs are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "CloudWatch Logs keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653 days."
  }
}
