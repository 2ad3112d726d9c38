variable "endpoint_name" {
  description = "Name of the endpoint to scale. Take it from the endpoint's resource, so that the endpoint exists first."
  type        = string
}

variable "variant_name" {
  description = "Name of the production variant to scale."
  type        = string
  default     = "AllTraffic"
}

variable "min_capacity" {
  description = "Fewest instances. A real-time variant cannot go below 1."
  type        = number
  default     = 1

  validation {
    condition     = var.min_capacity >= 1 && floor(var.min_capacity) == var.min_capacity
    error_message = "A real-time variant keeps a whole number of instances, at least 1: scaling to zero needs inference components, which the AWS provider does not have."
  }
}

variable "max_capacity" {
  description = "Most instances, and so the bill's ceiling."
  type        = number
  default     = 5

  validation {
    condition     = var.max_capacity >= var.min_capacity && floor(var.max_capacity) == var.max_capacity
    error_message = "max_capacity must be a whole number, and not below min_capacity."
  }
}

variable "metric" {
  description = "What is tracked: concurrent requests per model (every 10 s, recommended) or invocations per instance and minute (every 60 s)."
  type        = string
  default     = "SageMakerVariantConcurrentRequestsPerModelHighResolution"

  validation {
    condition     = contains(["SageMakerVariantConcurrentRequestsPerModelHighResolution", "SageMakerVariantInvocationsPerInstance"], var.metric)
    error_message = "Track SageMakerVariantConcurrentRequestsPerModelHighResolution or SageMakerVariantInvocationsPerInstance."
  }
}

variable "target_value" {
  description = "Value of the metric that scaling aims at. Null stands for 1 concurrent request; invocations per instance need a figure of your own."
  type        = number
  default     = null

  validation {
    condition     = var.target_value == null || try(var.target_value > 0, false)
    error_message = "A target must be above 0."
  }

  validation {
    # https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-loadtest.html
    condition     = var.metric != "SageMakerVariantInvocationsPerInstance" || var.target_value != null
    error_message = "SageMakerVariantInvocationsPerInstance counts invocations per minute and has no default: load-test one instance and set target_value to its most requests per second x 0.5 x 60."
  }
}

variable "scale_in_cooldown" {
  description = "Seconds between two scale-in actions."
  type        = number
  default     = 30

  validation {
    condition     = var.scale_in_cooldown >= 0
    error_message = "A cooldown is 0 seconds or more."
  }
}

variable "scale_out_cooldown" {
  description = "Seconds between two scale-out actions."
  type        = number
  default     = 30

  validation {
    condition     = var.scale_out_cooldown >= 0
    error_message = "A cooldown is 0 seconds or more."
  }
}

variable "caller_concurrency" {
  description = "Most requests that the endpoint's only caller sends at once, such as its Lambda's reserved concurrency; null where there are other callers or no limit. Refuses a concurrency target with which max_capacity can never be reached."
  type        = number
  default     = null
}
