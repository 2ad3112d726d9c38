mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name         = "whippet-test"
  bucket       = "bucket"
  endpoint_arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/whippet-test"
}

run "notebook_is_hardened" {
  module {
    source = "./modules/notebook"
  }

  assert {
    condition     = aws_sagemaker_notebook_instance.this.instance_type == "ml.t3.medium"
    error_message = "ml.t3.medium by default."
  }

  assert {
    condition     = aws_sagemaker_notebook_instance.this.root_access == "Disabled"
    error_message = "No root."
  }

  assert {
    condition     = aws_sagemaker_notebook_instance.this.instance_metadata_service_configuration[0].minimum_instance_metadata_service_version == "2"
    error_message = "IMDSv2."
  }

  assert {
    condition     = aws_sagemaker_notebook_instance.this.direct_internet_access == "Enabled"
    error_message = "Without a VPC it reaches the internet by itself."
  }
}

run "role_keeps_to_the_bucket_and_the_endpoint" {
  module {
    source = "./modules/notebook"
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.this.policy).Statement == [
      {
        Sid       = "ListArtifacts"
        Effect    = "Allow"
        Action    = ["s3:ListBucket"]
        Resource  = ["arn:aws:s3:::bucket"]
        Condition = { StringLike = { "s3:prefix" = ["data/*", "models/*", "training/*", "runs/*"] } }
      },
      {
        Sid    = "ReadArtifacts"
        Effect = "Allow"
        Action = ["s3:GetObject"]
        Resource = [
          "arn:aws:s3:::bucket/data/*",
          "arn:aws:s3:::bucket/models/*",
          "arn:aws:s3:::bucket/training/*",
          "arn:aws:s3:::bucket/runs/*",
        ]
      },
      {
        Sid      = "WriteArtifacts"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = ["arn:aws:s3:::bucket/runs/*"]
      },
      {
        Sid      = "AskEndpoint"
        Effect   = "Allow"
        Action   = ["sagemaker:InvokeEndpoint"]
        Resource = ["arn:aws:sagemaker:us-east-1:123456789012:endpoint/whippet-test"]
      },
    ]
    error_message = "The role has exactly these four statements."
  }
}

run "notebook_in_a_vpc_can_do_without_the_internet" {
  module {
    source = "./modules/notebook"
  }

  variables {
    direct_internet_access = false
    subnet_id              = "subnet-1"
    security_group_ids     = ["sg-1"]
  }

  assert {
    condition     = aws_sagemaker_notebook_instance.this.direct_internet_access == "Disabled"
    error_message = "Turned off."
  }
}

run "no_internet_and_no_subnet_is_refused" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    direct_internet_access = false
  }

  expect_failures = [var.direct_internet_access]
}

run "security_groups_without_a_subnet_are_refused" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    security_group_ids = ["sg-1"]
  }

  expect_failures = [var.security_group_ids]
}

run "ec2_instance_type_is_refused" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    instance_type = "t3.medium"
  }

  expect_failures = [var.instance_type]
}

run "tiny_disk_is_refused" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    volume_size = 4
  }

  expect_failures = [var.volume_size]
}

run "read_prefix_without_slash_is_refused" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    read_prefixes = ["data"]
  }

  expect_failures = [var.read_prefixes]
}

run "write_prefix_without_slash_is_refused" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    write_prefix = "runs"
  }

  expect_failures = [var.write_prefix]
}

run "name_that_ends_with_a_hyphen_is_refused" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    name = "whippet-"
  }

  expect_failures = [var.name]
}
