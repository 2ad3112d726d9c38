# Alarms on a function and an endpoint that are already there, and a dashboard; the console shows both.

provider "aws" {
  region = "us-east-1"
}

variable "name" {
  description = "Start of each alarm's name."
  type        = string
  default     = "observability-basic"
}

variable "function_timeout" {
  description = "The function's timeout in seconds."
  type        = number
  default     = 30
}

module "observability" {
  source = "../.."

  name             = var.name
  function_name    = "dogs"
  function_timeout = var.function_timeout
  endpoint_name    = "dogs"
}

output "alarm_names" {
  description = "The alarms by what they watch."
  value       = module.observability.alarm_names
}
