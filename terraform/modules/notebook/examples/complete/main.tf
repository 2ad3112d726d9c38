# A notebook in a private subnet, with a notebook in place, a key of its own and a permission boundary.

provider "aws" {
  region = "us-east-1"
}

variable "idle_minutes" {
  description = "Minutes after which an unused notebook stops."
  type        = number
  default     = 30
}

variable "volume_size" {
  description = "Size of the disk in GB."
  type        = number
  default     = 20
}

variable "endpoint_name" {
  description = "Endpoint that the notebook may ask."
  type        = string
  default     = "breeds"
}

data "aws_caller_identity" "this" {}

locals {
  account = data.aws_caller_identity.this.account_id
}

resource "aws_vpc" "this" {
  # checkov:skip=CKV2_AWS_11:An example's network; the network that it stands for is the platform team's
  # checkov:skip=CKV2_AWS_12:An example's network; nothing uses its default security group
  cidr_block           = "10.0.0.0/24"
  enable_dns_hostnames = true
}

resource "aws_subnet" "private" {
  vpc_id     = aws_vpc.this.id
  cidr_block = "10.0.0.0/26"
}

resource "aws_security_group" "notebook" {
  name        = "notebook-complete"
  description = "Nothing in, HTTPS out"
  vpc_id      = aws_vpc.this.id

  egress {
    description = "HTTPS to the endpoints of the VPC"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = [aws_vpc.this.cidr_block]
  }
}

module "artifacts" {
  source = "../../../artifacts"

  name           = "notebook-complete"
  create_kms_key = true
  force_destroy  = true
  retention_days = null
}

resource "aws_iam_policy" "boundary" {
  # checkov:skip=CKV_AWS_288:A boundary grants nothing; it is the widest that a role's own policy may be
  # checkov:skip=CKV_AWS_289:A boundary grants nothing; it is the widest that a role's own policy may be
  # checkov:skip=CKV_AWS_290:A boundary grants nothing; it is the widest that a role's own policy may be
  # checkov:skip=CKV_AWS_355:A boundary grants nothing; it is the widest that a role's own policy may be
  name = "notebook-complete-boundary"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["s3:*", "logs:*", "kms:*", "sagemaker:InvokeEndpoint", "sagemaker:StopNotebookInstance"]
      Resource = "*"
    }]
  })
}

module "notebook" {
  source = "../.."

  name                     = "notebook-complete"
  bucket                   = module.artifacts.bucket
  read_prefixes            = ["data/"]
  write_prefix             = "runs/"
  notebook_files           = ["${path.module}/hello.ipynb"]
  endpoint_arn             = "arn:aws:sagemaker:us-east-1:${local.account}:endpoint/${var.endpoint_name}"
  instance_type            = "ml.t3.medium"
  volume_size              = var.volume_size
  idle_minutes             = var.idle_minutes
  subnet_id                = aws_subnet.private.id
  security_group_ids       = [aws_security_group.notebook.id]
  kms_key_arn              = module.artifacts.kms_key_arn
  kms_key_alias            = module.artifacts.kms_key_alias
  permissions_boundary_arn = aws_iam_policy.boundary.arn
}

output "open_command" {
  description = "Command that prints the notebook's address."
  value       = module.notebook.open_command
}
