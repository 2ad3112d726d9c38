# Production: whoever deploys is bounded, and so is every role that a deployment makes. The account has a provider
# already, made here in place of another deployment.

provider "aws" {
  region = "us-east-1"

  default_tags {
    tags = { Project = "whippet", Environment = "prod" }
  }
}

variable "environments" {
  description = "GitHub environments whose jobs may deploy."
  type        = list(string)
  default     = ["prod"]
}

variable "branch" {
  description = "Branch whose jobs may deploy without an environment."
  type        = string
  default     = "main"
}

variable "parts" {
  description = "Modules that the deployment uses."
  type        = set(string)
  default     = ["artifacts", "autoscaling", "endpoint", "lambda", "observability"]
}

variable "max_session_seconds" {
  description = "Longest session."
  type        = number
  default     = 7200
}

variable "workspace" {
  description = "Workspace of Terraform's state."
  type        = string
  default     = "prod"
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}

resource "aws_iam_openid_connect_provider" "existing" {
  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_policy" "deployer" {
  # checkov:skip=CKV_AWS_286:A boundary grants nothing; it is the widest that a role's own policy may be
  # checkov:skip=CKV_AWS_287:A boundary grants nothing; it is the widest that a role's own policy may be
  # checkov:skip=CKV_AWS_288:A boundary grants nothing; it is the widest that a role's own policy may be
  # checkov:skip=CKV_AWS_289:A boundary grants nothing; it is the widest that a role's own policy may be
  # checkov:skip=CKV_AWS_290:A boundary grants nothing; it is the widest that a role's own policy may be
  # checkov:skip=CKV_AWS_355:A boundary grants nothing; it is the widest that a role's own policy may be
  name = "whippet-deployer-boundary"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "WhatADeploymentUses"
        Effect   = "Allow"
        Action   = [for service in ["application-autoscaling", "budgets", "cloudwatch", "ec2", "iam", "kms", "lambda", "logs", "s3", "sagemaker", "sns", "sqs"] : "${service}:*"]
        Resource = "*"
      },
      {
        Sid      = "NoUsers"
        Effect   = "Deny"
        Action   = ["iam:*AccessKey*", "iam:*Group*", "iam:*LoginProfile*", "iam:*User*"]
        Resource = "*"
      },
    ]
  })
}

resource "aws_iam_policy" "stack" {
  # checkov:skip=CKV_AWS_288:A boundary grants nothing; it is the widest that a role's own policy may be
  # checkov:skip=CKV_AWS_289:A boundary grants nothing; it is the widest that a role's own policy may be
  # checkov:skip=CKV_AWS_290:A boundary grants nothing; it is the widest that a role's own policy may be
  # checkov:skip=CKV_AWS_355:A boundary grants nothing; it is the widest that a role's own policy may be
  name = "whippet-stack-boundary"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "WhatTheSystemUses"
      Effect   = "Allow"
      Action   = ["cloudwatch:DescribeAlarms", "cloudwatch:PutMetricData", "ecr:*", "kms:Decrypt", "kms:GenerateDataKey", "logs:*", "s3:*Object*", "s3:ListBucket", "sagemaker:InvokeEndpoint", "sqs:SendMessage", "xray:Put*"]
      Resource = "*"
    }]
  })
}

module "github_oidc" {
  source = "../.."

  name                = "whippet-prod"
  resource_tags       = { Project = "whippet", Environment = "prod" }
  parts               = var.parts
  repository          = "example/whippet"
  environments        = var.environments
  subjects            = ["repo:example/whippet:ref:refs/heads/${var.branch}"]
  create_provider     = false
  max_session_seconds = var.max_session_seconds

  permissions_boundary_arn = aws_iam_policy.deployer.arn
  stack_boundary_arn       = "arn:${data.aws_partition.this.partition}:iam::${data.aws_caller_identity.this.account_id}:policy/${aws_iam_policy.stack.name}"

  state = {
    bucket    = "example-terraform-state"
    key       = "whippet/terraform.tfstate"
    workspace = var.workspace
  }

  depends_on = [aws_iam_openid_connect_provider.existing]
}

output "role_arn" {
  description = "role-to-assume of aws-actions/configure-aws-credentials."
  value       = module.github_oidc.role_arn
}
