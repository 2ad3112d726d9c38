# A function in front of an endpoint that is already there, with the defaults: reserved concurrency 5, no URL, no queue.

provider "aws" {
  region = "us-east-1"
}

variable "lambda_zip" {
  description = "The deployment zip that scripts/build_lambda.py writes."
  type        = string
  default     = "../../../../../build/lambda.zip"
}

variable "name" {
  description = "Name of the function."
  type        = string
  default     = "lambda-basic"
}

variable "memory_size" {
  description = "Memory of one environment in MB."
  type        = number
  default     = 256
}

variable "reserved_concurrency" {
  description = "Most calls answered at once."
  type        = number
  default     = 5
}

module "lambda" {
  source = "../.."

  function_name        = var.name
  package              = var.lambda_zip
  endpoint_name        = "dogs"
  memory_size          = var.memory_size
  reserved_concurrency = var.reserved_concurrency
}

output "alias_arn" {
  description = "What callers name."
  value       = module.lambda.alias_arn
}
