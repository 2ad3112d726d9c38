# Everything is applied with changed = false, and then changed in place with changed = true.
variable "changed" {
  type    = bool
  default = false
}

variable "local_aws_url" {
  type = string
}

locals {
  # What every resource with tags gets: one that stays, one that changes its value, one that comes and one that goes.
  tags = merge(
    { Name = "matrix", Step = var.changed ? "second" : "first" },
    var.changed ? { New = "yes" } : { Old = "yes" },
  )
}

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  max_retries                 = 1
  s3_use_path_style           = true
  skip_credentials_validation = true
  skip_metadata_api_check     = true

  default_tags {
    tags = local.tags
  }

  endpoints {
    appautoscaling = var.local_aws_url
    budgets        = var.local_aws_url
    cloudwatch     = var.local_aws_url
    ec2            = var.local_aws_url
    iam            = var.local_aws_url
    kms            = var.local_aws_url
    lambda         = var.local_aws_url
    logs           = var.local_aws_url
    s3             = var.local_aws_url
    sagemaker      = var.local_aws_url
    signer         = var.local_aws_url
    sns            = var.local_aws_url
    sqs            = var.local_aws_url
    ssm            = var.local_aws_url
    sts            = var.local_aws_url
  }
}

module "storage" {
  source  = "./storage"
  changed = var.changed
}

module "compute" {
  source  = "./compute"
  changed = var.changed
}

module "functions" {
  source  = "./functions"
  changed = var.changed
}

module "hosting" {
  source  = "./hosting"
  changed = var.changed
}
