# Every alarm, told by mail through an encrypted topic; a budget; thresholds of one's own.

provider "aws" {
  region = "us-east-1"
}

variable "name" {
  description = "Start of each alarm's and the topic's name."
  type        = string
  default     = "observability-complete"
}

variable "function_name" {
  description = "Function to watch."
  type        = string
  default     = "dogs"
}

variable "function_timeout" {
  description = "The function's timeout in seconds."
  type        = number
  default     = 30
}

variable "endpoint_name" {
  description = "Endpoint to watch."
  type        = string
  default     = "dogs"
}

variable "variant_name" {
  description = "Variant to watch."
  type        = string
  default     = "AllTraffic"
}

variable "endpoint_vcpus" {
  description = "Processors of one instance."
  type        = number
  default     = 2
}

variable "endpoint_max_instances" {
  description = "Most instances."
  type        = number
  default     = 5
}

variable "latency_ms" {
  description = "p99 of the model's time in milliseconds that is still no alarm."
  type        = number
  default     = 500
}

variable "latency_periods" {
  description = "Minutes in a row that it may be above."
  type        = number
  default     = 3
}

variable "emails" {
  description = "Who hears of alarms."
  type        = list(string)
  default     = ["on-call@example.org"]
}

variable "budget" {
  description = "US dollars a month."
  type        = number
  default     = 100
}

variable "budget_percentages" {
  description = "Of the budget at which someone is told."
  type        = list(number)
  default     = [80, 100]
}

variable "create_dashboard" {
  description = "Make the dashboard."
  type        = bool
  default     = true
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}

resource "aws_kms_key" "this" {
  description             = "Notifications of ${var.name}"
  enable_key_rotation     = true
  deletion_window_in_days = 7

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # The account's IAM policies decide; "*" in a key policy is this key.
        Effect    = "Allow"
        Principal = { AWS = "arn:${data.aws_partition.this.partition}:iam::${data.aws_caller_identity.this.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        # https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
        Effect    = "Allow"
        Principal = { Service = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"] }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.this.account_id } }
      },
    ]
  })
}

module "observability" {
  source = "../.."

  name                   = var.name
  function_name          = var.function_name
  function_timeout       = var.function_timeout
  endpoint_name          = var.endpoint_name
  variant_name           = var.variant_name
  endpoint_vcpus         = var.endpoint_vcpus
  endpoint_max_instances = var.endpoint_max_instances

  alarms = {
    endpoint_latency = { threshold = var.latency_ms, periods = var.latency_periods }
  }

  topic       = { emails = var.emails }
  kms_key_arn = aws_kms_key.this.arn

  budget = {
    limit       = var.budget
    percentages = var.budget_percentages
    emails      = var.emails
    tag         = { key = "Project", value = "whippet" }
  }

  create_dashboard = var.create_dashboard
}

output "rollback_alarm_names" {
  description = "What an endpoint's deployment.rollback_alarm_names is given."
  value       = module.observability.rollback_alarm_names
}

output "topic_arn" {
  description = "The topic that hears of alarms."
  value       = module.observability.topic_arn
}
