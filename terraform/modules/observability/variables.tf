variable "name" {
  description = "Start of each alarm's and the topic's name, and the name of the dashboard and the budget."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9-_]{1,100}$", var.name))
    error_message = "Use 1 to 100 letters, digits, hyphens and underscores: what a dashboard's and a topic's name may have."
  }
}

################################################################################
# What is watched
################################################################################

variable "function_name" {
  description = "Name of the Lambda function to watch; null watches none."
  type        = string
  default     = null
}

variable "function_timeout" {
  description = "The function's timeout in seconds, against which its duration is measured."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.function_timeout >= 1 && var.function_timeout <= 900
    error_message = "A function's timeout is 1 to 900 seconds."
  }
}

variable "endpoint_name" {
  description = "Name of the endpoint to watch; null watches none. A plain name, not an output of the endpoint, where the endpoint's roll-back names these alarms."
  type        = string
  default     = null
}

variable "variant_name" {
  description = "Name of the endpoint's production variant to watch."
  type        = string
  default     = "AllTraffic"
  nullable    = false
}

variable "endpoint_has_instances" {
  description = "Whether the endpoint runs on instances; false for a serverless one, which tells nothing of CPU and instances."
  type        = bool
  default     = true
  nullable    = false
}

variable "endpoint_vcpus" {
  description = "Virtual processors of one instance, 2 for ml.m5.large: SageMaker tells CPU utilization as the sum of all, up to 200 % there."
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = var.endpoint_vcpus >= 1 && floor(var.endpoint_vcpus) == var.endpoint_vcpus
    error_message = "An instance has a whole number of virtual processors, at least 1."
  }
}

variable "endpoint_max_instances" {
  description = "Most instances that autoscaling may start, at which an alarm tells that there is no more. Null without autoscaling, and where the least is the most."
  type        = number
  default     = null

  validation {
    condition     = var.endpoint_max_instances == null || try(var.endpoint_max_instances >= 2 && floor(var.endpoint_max_instances) == var.endpoint_max_instances, false)
    error_message = "Give a whole number of instances, at least 2; with a maximum of 1 nothing scales, and null sets no alarm."
  }
}

################################################################################
# When it rings
################################################################################

variable "alarms" {
  description = <<-EOT
    When each alarm rings: `threshold` is passed in each of `periods` periods of `period_seconds` one after another. `enabled = false` leaves an alarm out.

    - `lambda_errors`, `lambda_throttles`, `endpoint_5xx`: more than so many in a period
    - `lambda_duration`: the slowest call takes at least so many percent of the timeout
    - `endpoint_latency`: p99 of the model's time in milliseconds
    - `endpoint_cpu`: average percent of all of an instance's processors
    - `endpoint_no_instance`: no threshold; switch it off where the endpoint may scale to 0
    - `endpoint_at_maximum`: no threshold; autoscaling has had endpoint_max_instances for that long
  EOT
  type = object({
    lambda_errors = optional(object({
      enabled        = optional(bool, true)
      threshold      = optional(number, 0)
      period_seconds = optional(number, 300)
      periods        = optional(number, 1)
    }), {})
    lambda_throttles = optional(object({
      enabled        = optional(bool, true)
      threshold      = optional(number, 0)
      period_seconds = optional(number, 300)
      periods        = optional(number, 1)
    }), {})
    lambda_duration = optional(object({
      enabled        = optional(bool, true)
      threshold      = optional(number, 80)
      period_seconds = optional(number, 300)
      periods        = optional(number, 1)
    }), {})
    endpoint_5xx = optional(object({
      enabled        = optional(bool, true)
      threshold      = optional(number, 0)
      period_seconds = optional(number, 60)
      periods        = optional(number, 1)
    }), {})
    endpoint_latency = optional(object({
      enabled        = optional(bool, true)
      threshold      = optional(number, 1000)
      period_seconds = optional(number, 60)
      periods        = optional(number, 3)
    }), {})
    endpoint_cpu = optional(object({
      enabled        = optional(bool, true)
      threshold      = optional(number, 85)
      period_seconds = optional(number, 60)
      periods        = optional(number, 10)
    }), {})
    endpoint_no_instance = optional(object({
      enabled        = optional(bool, true)
      period_seconds = optional(number, 60)
      periods        = optional(number, 5)
    }), {})
    endpoint_at_maximum = optional(object({
      enabled        = optional(bool, true)
      period_seconds = optional(number, 60)
      periods        = optional(number, 15)
    }), {})
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for alarm in values(var.alarms) : try(alarm.threshold, 0) >= 0])
    error_message = "A threshold cannot be negative."
  }

  validation {
    condition     = alltrue([for alarm in [var.alarms.lambda_duration, var.alarms.endpoint_cpu] : alarm.threshold > 0 && alarm.threshold <= 100])
    error_message = "The thresholds of lambda_duration and endpoint_cpu are percentages, above 0 and up to 100."
  }

  validation {
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    condition     = alltrue([for alarm in values(var.alarms) : alarm.period_seconds >= 60 && alarm.period_seconds % 60 == 0])
    error_message = "period_seconds is a multiple of 60: Lambda and SageMaker tell these metrics once a minute."
  }

  validation {
    condition     = alltrue([for alarm in values(var.alarms) : alarm.periods >= 1 && floor(alarm.periods) == alarm.periods && alarm.periods * alarm.period_seconds <= 86400])
    error_message = "periods is a whole number, at least 1, and all of them together are at most one day."
  }
}

################################################################################
# Who hears of it
################################################################################

variable "alarm_actions" {
  description = "ARNs of SNS topics of yours that hear of an alarm and of its end. Their policies must let CloudWatch publish. Empty, without topic, leaves the alarms to the console."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.alarm_actions : can(regex("^arn:[^:]+:sns:", arn))])
    error_message = "Give ARNs of SNS topics, such as arn:aws:sns:us-east-1:123456789012:on-call."
  }
}

variable "topic" {
  description = "Make a topic, NAME-alarms, that only alarms of this name and budgets of this account may publish to; `emails` are asked by AWS whether they want its mails. Null makes none."
  type = object({
    emails = optional(list(string), [])
  })
  default = null

  validation {
    condition     = alltrue([for email in try(var.topic.emails, []) : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", email))])
    error_message = "topic.emails holds e-mail addresses."
  }
}

variable "budget" {
  description = <<-EOT
    A monthly budget for costs, told by mail and by the topic. Null sets none; the first two budgets of an account are free.

    - `limit`: US dollars a month
    - `percentages`: of the limit at which someone is told
    - `include_forecast`: tell also when AWS foresees them
    - `emails`: who is told, beside the topic
    - `tag`: count only what carries this tag, once it is activated as a cost allocation tag; null counts the whole account
  EOT
  type = object({
    limit            = number
    percentages      = optional(list(number), [80, 100])
    include_forecast = optional(bool, true)
    emails           = optional(list(string), [])
    tag              = optional(object({ key = string, value = string }))
  })
  default = null

  validation {
    condition     = try(var.budget.limit, 1) > 0
    error_message = "budget.limit is an amount of US dollars above 0."
  }

  validation {
    # https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_CreateBudget.html
    condition     = var.budget == null || try(length(var.budget.percentages) * (var.budget.include_forecast ? 2 : 1) <= 10 && length(var.budget.percentages) >= 1 && alltrue([for percentage in var.budget.percentages : percentage > 0]), false)
    error_message = "budget.percentages holds 1 to 5 numbers above 0, or up to 10 without include_forecast."
  }

  validation {
    condition     = length(try(var.budget.emails, [])) <= 10 && alltrue([for email in try(var.budget.emails, []) : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", email))])
    error_message = "budget.emails holds at most 10 e-mail addresses."
  }
}

variable "create_dashboard" {
  description = "Make a CloudWatch dashboard of the function and the endpoint. The account's first three are free, each further one is 3 dollars a month."
  type        = bool
  default     = true
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that encrypts the topic. Its policy must let cloudwatch.amazonaws.com and budgets.amazonaws.com use it. Null leaves the topic unencrypted at rest: alarms cannot use AWS's own key for SNS."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[^:]+:kms:[a-z0-9-]+:\\d{12}:key/.+$", var.kms_key_arn))
    error_message = "Give the key's ARN, arn:aws:kms:REGION:ACCOUNT:key/ID, or null."
  }
}
