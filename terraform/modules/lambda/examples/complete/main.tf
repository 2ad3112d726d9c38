# Warm environments that follow the load, a URL for signed requests from one site, a queue for failed events, own key,
# traces, a VPC, a boundary for the role, and a signing profile, of which unsigned code is told in the logs.

provider "aws" {
  region = "us-east-1"
}

variable "lambda_zip" {
  description = "The deployment zip that scripts/build_lambda.py writes."
  type        = string
  default     = "../../../../../build/lambda.zip"
}

variable "name" {
  description = "Name of the function, and start of every other name."
  type        = string
  default     = "lambda-complete"
}

variable "endpoint_name" {
  description = "Endpoint that the function asks."
  type        = string
  default     = "dogs"
}

variable "memory_size" {
  description = "Memory of one environment in MB."
  type        = number
  default     = 256
}

variable "timeout" {
  description = "Seconds after which Lambda ends a call."
  type        = number
  default     = 30
}

variable "environment_variables" {
  description = "More environment variables."
  type        = map(string)
  default     = { WHIPPET_MAX_PHOTO_BYTES = "4000000" }
}

variable "allowed_url_hosts" {
  description = "Hosts that events may name."
  type        = list(string)
  default     = ["images.example.org"]
}

variable "photo_prefix" {
  description = "Where in the bucket the photos lie that events may name."
  type        = string
  default     = "inbox"
}

variable "reserved_concurrency" {
  description = "Most calls answered at once."
  type        = number
  default     = 10
}

variable "provisioned_concurrency" {
  description = "Warm environments: fewest, most, and how busy they should be."
  type        = object({ min = number, max = number, target_utilization = number })
  default     = { min = 1, max = 3, target_utilization = 0.7 }
}

variable "allow_origins" {
  description = "Sites whose pages may call the URL."
  type        = list(string)
  default     = ["https://www.example.org"]
}

variable "maximum_retry_attempts" {
  description = "How often a failed asynchronous event is tried again."
  type        = number
  default     = 1
}

variable "queue_retention_days" {
  description = "Days that failed events are kept."
  type        = number
  default     = 7
}

variable "enable_xray" {
  description = "Send traces."
  type        = bool
  default     = true
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 30
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

resource "aws_kms_key" "this" {
  description             = "Variables, logs and failed events of ${var.name}"
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
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
        Effect    = "Allow"
        Principal = { Service = "logs.${data.aws_region.this.id}.amazonaws.com" }
        Action    = ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
        Resource  = "*"
        Condition = {
          ArnLike = {
            "kms:EncryptionContext:aws:logs:arn" = "arn:${data.aws_partition.this.partition}:logs:${data.aws_region.this.id}:${data.aws_caller_identity.this.account_id}:*"
          }
        }
      },
    ]
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}

resource "aws_vpc" "this" {
  # checkov:skip=CKV2_AWS_11:An example's network; the network that it stands for is the platform team's
  # checkov:skip=CKV2_AWS_12:An example's network; nothing uses its default security group
  cidr_block = "10.10.0.0/24"
}

resource "aws_subnet" "this" {
  vpc_id     = aws_vpc.this.id
  cidr_block = "10.10.0.0/25"
}

resource "aws_security_group" "this" {
  name        = var.name
  description = "The function calls out by HTTPS, nobody calls in"
  vpc_id      = aws_vpc.this.id

  egress {
    description = "HTTPS to the interface endpoint of SageMaker"
    from_port   = 443
    to_port     = 443
    protocol    = "tcp"
    cidr_blocks = [aws_vpc.this.cidr_block]
  }
}

resource "aws_signer_signing_profile" "this" {
  name_prefix = "whippet"
  platform_id = "AWSLambda-SHA384-ECDSA"
}

# The widest that the role may ever be, whatever its policy says.
resource "aws_iam_policy" "boundary" {
  # checkov:skip=CKV_AWS_288:A boundary grants nothing; it is the widest that a role's own policy may be
  # checkov:skip=CKV_AWS_289:A boundary grants nothing; it is the widest that a role's own policy may be
  # checkov:skip=CKV_AWS_290:A boundary grants nothing; it is the widest that a role's own policy may be
  # checkov:skip=CKV_AWS_355:A boundary grants nothing; it is the widest that a role's own policy may be
  name = "${var.name}-boundary"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["ec2:*NetworkInterface*", "ec2:*PrivateIpAddresses", "ec2:DescribeSubnets", "kms:Decrypt", "kms:GenerateDataKey", "logs:*", "s3:GetObject", "sagemaker:InvokeEndpoint", "sqs:SendMessage", "xray:Put*"]
      Resource = "*"
    }]
  })
}

module "lambda" {
  source = "../.."

  function_name         = var.name
  package               = var.lambda_zip
  endpoint_name         = var.endpoint_name
  architecture          = "x86_64"
  memory_size           = var.memory_size
  timeout               = var.timeout
  environment_variables = var.environment_variables

  allowed_url_hosts = var.allowed_url_hosts
  photo_read_arns   = ["arn:${data.aws_partition.this.partition}:s3:::${var.name}-photos/${var.photo_prefix}/*"]

  reserved_concurrency      = var.reserved_concurrency
  provisioned_concurrency   = var.provisioned_concurrency
  account_concurrency_quota = 1000

  # Enforce where the pipeline signs the zip.
  code_signing = {
    signing_profile_version_arns = [aws_signer_signing_profile.this.version_arn]
    untrusted_artifact           = "Warn"
  }

  function_url = { cors = { allow_origins = var.allow_origins } }

  asynchronous = {
    maximum_retry_attempts = var.maximum_retry_attempts
    queue_retention_days   = var.queue_retention_days
  }

  vpc = {
    subnet_ids         = [aws_subnet.this.id]
    security_group_ids = [aws_security_group.this.id]
  }

  enable_xray              = var.enable_xray
  log_retention_days       = var.log_retention_days
  kms_key_arn              = aws_kms_key.this.arn
  kms_key_alias            = aws_kms_alias.this.name
  encrypt_variables        = true
  permissions_boundary_arn = aws_iam_policy.boundary.arn
}

output "function_url" {
  description = "Where signed requests go."
  value       = module.lambda.function_url
}

output "failed_events_queue_url" {
  description = "Where events of failed asynchronous calls lie."
  value       = module.lambda.failed_events_queue_url
}
