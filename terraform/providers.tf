locals {
  local_aws = var.local_aws_url != null
}

provider "aws" {
  region = var.region

  default_tags {
    tags = merge(
      { Project = var.name, Environment = var.environment, ManagedBy = "Terraform" },
      var.tags,
    )
  }

  # On AWS all of this is as if it were not there. Local AWS has its administrator's test credentials and one address,
  # and a call that it does not know should fail at once, not after 25 tries.
  access_key                  = local.local_aws ? "test" : null
  secret_key                  = local.local_aws ? "test" : null
  max_retries                 = local.local_aws ? 2 : null
  s3_use_path_style           = local.local_aws
  skip_credentials_validation = local.local_aws
  skip_metadata_api_check     = local.local_aws

  dynamic "endpoints" {
    for_each = local.local_aws ? [var.local_aws_url] : []

    # Every service that the modules use.
    content {
      appautoscaling = endpoints.value
      autoscaling    = endpoints.value
      budgets        = endpoints.value
      cloudwatch     = endpoints.value
      ec2            = endpoints.value
      iam            = endpoints.value
      kms            = endpoints.value
      lambda         = endpoints.value
      logs           = endpoints.value
      s3             = endpoints.value
      sagemaker      = endpoints.value
      sns            = endpoints.value
      sqs            = endpoints.value
      ssm            = endpoints.value
      sts            = endpoints.value
    }
  }
}
