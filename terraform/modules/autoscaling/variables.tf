################################################################################
# Variant
################################################################################

variable "endpoint_name" {
  description = "Name of the endpoint to scale. Take it from the endpoint's resource, so that the endpoint exists first."
  type        = string
}

variable "variant_name" {
  description = "Name of the production variant to scale. Its endpoint has instances: provisioned concurrency of a serverless endpoint is not scaled here."
  type        = string
  default     = "AllTraffic"
}

variable "instance_type" {
  description = "Type of the variant's instances. With it, a change of the type takes the variant out of autoscaling while the endpoint is updated, and back in afterwards; AWS refuses the update of a variant that is in. Null where the type never changes."
  type        = string
  default     = null

  validation {
    # https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling-add-console.html
    condition     = var.instance_type == null || can(regex("^ml\\.[a-su-z][a-z0-9-]*\\.[a-z0-9]+$", var.instance_type))
    error_message = "Instance types start with \"ml.\", as in ml.m5.large, and burstable ones (ml.t2, ml.t3) cannot autoscale."
  }
}

################################################################################
# Capacity
################################################################################

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

variable "scheduled_actions" {
  description = "Changes of the bounds by the clock, by name: `schedule` is at(yyyy-mm-ddThh:mm:ss), rate(5 minutes) or cron(0 7 ? * MON-FRI *), `timezone` an IANA name such as Europe/Berlin, and `min_capacity` or `max_capacity` or both the new bounds (null = as they are), which stay until another action. `start_time` and `end_time` (RFC 3339) limit it."
  type = map(object({
    schedule     = string
    timezone     = optional(string, "UTC")
    min_capacity = optional(number)
    max_capacity = optional(number)
    start_time   = optional(string)
    end_time     = optional(string)
  }))
  default = {}

  validation {
    # https://docs.aws.amazon.com/autoscaling/application/userguide/scheduled-scaling-using-cron-expressions.html
    condition     = alltrue([for action in values(var.scheduled_actions) : can(regex("^(at\\(\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\)|rate\\([1-9]\\d* (minute|hour|day)s?\\)|cron\\(\\S+( \\S+){5}\\))$", action.schedule))])
    error_message = "A schedule is at(yyyy-mm-ddThh:mm:ss), rate(VALUE UNIT) or cron(MINUTE HOUR DAY MONTH WEEKDAY YEAR), where DAY or WEEKDAY is ?."
  }

  validation {
    condition     = alltrue([for action in values(var.scheduled_actions) : can(regex("^[A-Za-z]+([/_+-][A-Za-z0-9_+-]+)*$", action.timezone))])
    error_message = "A timezone is an IANA name, such as UTC or Europe/Berlin."
  }

  validation {
    condition = alltrue([for action in values(var.scheduled_actions) : anytrue([action.min_capacity != null, action.max_capacity != null]) && alltrue([
      for capacity in [action.min_capacity, action.max_capacity] : capacity == null || try(capacity >= 1 && floor(capacity) == capacity, false)
    ])])
    error_message = "A scheduled action sets min_capacity, max_capacity or both to whole numbers, at least 1."
  }

  validation {
    condition     = alltrue([for action in values(var.scheduled_actions) : try(coalesce(action.min_capacity, var.min_capacity) <= coalesce(action.max_capacity, var.max_capacity), true)])
    error_message = "A scheduled action's min_capacity must not be above its max_capacity, or above the variable max_capacity where it has none."
  }

  validation {
    condition     = alltrue([for moment in flatten([for action in values(var.scheduled_actions) : [action.start_time, action.end_time]]) : moment == null || can(formatdate("YYYY", moment))])
    error_message = "start_time and end_time are moments as in RFC 3339, such as 2027-01-31T08:00:00Z."
  }
}

################################################################################
# Target tracking
################################################################################

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

variable "enable_scale_in" {
  description = "Let target tracking take instances away again. Off where only a scheduled action or a person may."
  type        = bool
  default     = true
}

################################################################################
# What can be reached
################################################################################

variable "caller_concurrency" {
  description = "Most requests that the endpoint's only caller sends at once, such as its Lambda's reserved concurrency; null where there are other callers or no limit. Refuses a target with which the largest max_capacity can never be reached."
  type        = number
  default     = null

  validation {
    condition     = var.caller_concurrency == null || try(var.caller_concurrency >= 1, false)
    error_message = "A caller sends at least 1 request at once; null stands for other callers or no limit."
  }
}

variable "caller_request_seconds" {
  description = "Seconds that one of the caller's requests takes at the least, from a load test. With `caller_concurrency` it bounds the invocations per minute, and refuses a target of SageMakerVariantInvocationsPerInstance that they never reach. Null where it is not known; nothing is checked then."
  type        = number
  default     = null

  validation {
    condition     = var.caller_request_seconds == null || try(var.caller_request_seconds > 0, false)
    error_message = "A request takes more than 0 seconds; null where it is not known."
  }
}
