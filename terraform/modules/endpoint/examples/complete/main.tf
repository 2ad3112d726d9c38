# Two models side by side in a VPC, everything encrypted with one key, a sample of the calls kept, updates step by step.

provider "aws" {
  region = "us-east-1"
}

variable "name" {
  description = "Name of the endpoint, and start of the bucket's."
  type        = string
  default     = "endpoint-complete"
}

variable "model_archive" {
  description = "A model.tar.gz that training wrote."
  type        = string
  default     = "model.tar.gz"
}

variable "sampling_percentage" {
  description = "Percentage of the calls whose question and answer are kept."
  type        = number
  default     = 10
}

variable "challenger_weight" {
  description = "The challenger's share of the traffic; the champion has 9."
  type        = number
  default     = 1
}

variable "wait_seconds" {
  description = "How long alarms are watched after each step of an update."
  type        = number
  default     = 300
}

# The account's default VPC stands for yours.
data "aws_vpc" "default" {
  default = true
}

data "aws_subnets" "default" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.default.id]
  }
}

resource "aws_security_group" "this" {
  # checkov:skip=CKV2_AWS_5:SageMaker attaches it to the network interfaces of the containers
  name_prefix = "${var.name}-"
  description = "Containers of the endpoint ${var.name}"
  vpc_id      = data.aws_vpc.default.id

  egress {
    description = "S3, for the model"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = ["0.0.0.0/0"]
  }
}

data "aws_caller_identity" "this" {}

resource "aws_kms_key" "this" {
  description             = "Volumes, logs and captured calls of the endpoint ${var.name}"
  enable_key_rotation     = true
  deletion_window_in_days = 7

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "AccountDecidesByIAM"
        Effect    = "Allow"
        Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.this.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
        Sid       = "EncryptLogs"
        Effect    = "Allow"
        Principal = { Service = "logs.us-east-1.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
        Resource  = "*"
        Condition = {
          ArnEquals = { "kms:EncryptionContext:aws:logs:arn" = "arn:aws:logs:us-east-1:${data.aws_caller_identity.this.account_id}:log-group:/aws/sagemaker/Endpoints/${var.name}" }
        }
      },
    ]
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.id
}

module "bucket" {
  source = "../fixtures/bucket"

  name = var.name
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  for_each = toset(["champion", "challenger"])

  alarm_name          = "${var.name}-${each.key}-5xx"
  alarm_description   = "More than one call in a hundred failed at the ${each.key} of the endpoint ${var.name}."
  namespace           = "AWS/SageMaker"
  metric_name         = "Invocation5XXErrors"
  dimensions          = { EndpointName = var.name, VariantName = each.key }
  statistic           = "Average"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0.01
  treat_missing_data  = "notBreaching"
}

module "endpoint" {
  source = "../.."

  name          = var.name
  model_archive = var.model_archive
  model_upload  = { bucket = module.bucket.bucket }

  variants = {
    champion = {
      weight                 = 9
      initial_instance_count = 2
    }
    challenger = {
      weight        = var.challenger_weight
      instance_type = "ml.c5.xlarge"
      environment   = { SAGEMAKER_MODEL_SERVER_WORKERS = "2" }
    }
  }

  vpc = {
    subnet_ids         = slice(sort(data.aws_subnets.default.ids), 0, 2)
    security_group_ids = [aws_security_group.this.id]
  }

  kms_key_arn   = aws_kms_key.this.arn
  kms_key_alias = aws_kms_alias.this.name

  data_capture = {
    destination_s3_uri  = "s3://${module.bucket.bucket}/endpoint"
    sampling_percentage = var.sampling_percentage
  }

  deployment = {
    strategy                 = "LINEAR"
    step                     = { value = 50 }
    wait_seconds             = var.wait_seconds
    termination_wait_seconds = 0
    rollback_alarm_names     = [for alarm in aws_cloudwatch_metric_alarm.errors : alarm.alarm_name]
  }

  startup_timeout_seconds = 300
  log_retention_days      = 365
}

output "endpoint_name" {
  description = "Name of the endpoint."
  value       = module.endpoint.name
}

output "variants" {
  description = "The two variants."
  value       = module.endpoint.variants
}
