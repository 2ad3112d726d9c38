variable "name" {
  description = "Start of each alarm's name."
  type        = string
}

variable "function_name" {
  description = "Name of the Lambda function to watch."
  type        = string
}

variable "endpoint_name" {
  description = "Name of the endpoint to watch."
  type        = string
}

variable "variant_name" {
  description = "Name of the endpoint's production variant to watch."
  type        = string
  default     = "AllTraffic"
}

variable "threshold" {
  description = "Failures within five minutes that are still no alarm."
  type        = number
  default     = 0

  validation {
    condition     = var.threshold >= 0
    error_message = "A number of failures cannot be negative."
  }
}

variable "alarm_actions" {
  description = "ARNs of the SNS topics that hear of an alarm and of its end. Empty leaves the alarms to the console."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.alarm_actions : can(regex("^arn:[^:]+:sns:", arn))])
    error_message = "Give ARNs of SNS topics, such as arn:aws:sns:us-east-1:123456789012:on-call."
  }
}
