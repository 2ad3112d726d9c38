mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name         = "whippet-test"
  bucket       = "bucket"
  endpoint_arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/whippet-test"
}

run "notebook_is_hardened" {
  command = plan

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

run "start_script_stops_it_after_an_hour" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  assert {
    condition     = strcontains(base64decode(aws_sagemaker_notebook_instance_lifecycle_configuration.this.on_start), "stop-when-idle 'whippet-test' 'us-east-1' 60 ")
    error_message = "Looked at every five minutes, with 60 as the limit."
  }

  assert {
    condition     = aws_sagemaker_notebook_instance.this.lifecycle_config_name == aws_sagemaker_notebook_instance_lifecycle_configuration.this.name
    error_message = "The notebook runs the script."
  }

  assert {
    condition     = startswith(aws_sagemaker_notebook_instance_lifecycle_configuration.this.name, "whippet-test-")
    error_message = "The script's name says whose it is."
  }
}

run "idle_null_never_stops_it" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    idle_minutes = null
  }

  assert {
    condition     = !strcontains(base64decode(aws_sagemaker_notebook_instance_lifecycle_configuration.this.on_start), "stop-when-idle")
    error_message = "No stop when idle."
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.this.policy, "sagemaker:StopNotebookInstance")
    error_message = "And no right to stop itself."
  }
}

run "notebooks_are_uploaded_and_fetched" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    notebook_files = ["modules/notebook/examples/complete/hello.ipynb"]
  }

  assert {
    condition     = strcontains(base64decode(aws_sagemaker_notebook_instance_lifecycle_configuration.this.on_start), "s3://bucket/${aws_s3_object.notebook["hello.ipynb"].key}")
    error_message = "The script fetches what was uploaded."
  }

  assert {
    condition     = startswith(aws_s3_object.notebook["hello.ipynb"].key, "notebooks/")
    error_message = "Under the prefix that the role may read."
  }
}

run "missing_notebook_is_named" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    notebook_files = ["none.ipynb"]
  }

  expect_failures = [aws_s3_object.notebook]
}

run "too_many_notebooks_are_refused" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    notebook_files = [for number in range(60) : "notebook-number-${number}.ipynb"]
  }

  expect_failures = [aws_s3_object.notebook, aws_sagemaker_notebook_instance_lifecycle_configuration.this]
}

run "role_keeps_to_the_bucket_the_endpoint_and_itself" {
  command = plan

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
        Condition = { StringLike = { "s3:prefix" = ["data/*", "models/*", "training/*", "notebooks/*", "runs/*"] } }
      },
      {
        Sid    = "ReadArtifacts"
        Effect = "Allow"
        Action = ["s3:GetObject"]
        Resource = [
          "arn:aws:s3:::bucket/data/*",
          "arn:aws:s3:::bucket/models/*",
          "arn:aws:s3:::bucket/training/*",
          "arn:aws:s3:::bucket/notebooks/*",
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
        Sid    = "WriteLogs"
        Effect = "Allow"
        Action = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = [
          "arn:aws:logs:us-east-1:123456789012:log-group:/aws/sagemaker/NotebookInstances",
          "arn:aws:logs:us-east-1:123456789012:log-group:/aws/sagemaker/NotebookInstances:log-stream:whippet-test/*",
        ]
      },
      {
        Sid      = "StopItself"
        Effect   = "Allow"
        Action   = ["sagemaker:StopNotebookInstance"]
        Resource = ["arn:aws:sagemaker:us-east-1:123456789012:notebook-instance/whippet-test"]
      },
      {
        Sid      = "AskEndpoint"
        Effect   = "Allow"
        Action   = ["sagemaker:InvokeEndpoint"]
        Resource = ["arn:aws:sagemaker:us-east-1:123456789012:endpoint/whippet-test"]
      },
    ]
    error_message = "The role has exactly these statements."
  }

  assert {
    condition     = jsondecode(aws_iam_role.this.assume_role_policy).Statement[0].Condition == { StringEquals = { "aws:SourceAccount" = "123456789012" } }
    error_message = "SageMaker takes the role for this account alone."
  }
}

run "without_an_endpoint_it_asks_none" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    endpoint_arn = null
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.this.policy, "InvokeEndpoint")
    error_message = "No endpoint, no right to ask one."
  }
}

run "key_encrypts_the_disk_and_opens_the_bucket" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    kms_key_arn = "arn:aws:kms:us-east-1:123456789012:key/1234"
  }

  assert {
    condition     = aws_sagemaker_notebook_instance.this.kms_key_id == "arn:aws:kms:us-east-1:123456789012:key/1234"
    error_message = "The disk."
  }

  assert {
    condition = contains(jsondecode(aws_iam_role_policy.this.policy).Statement, {
      Sid       = "UseKeyForArtifacts"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = ["arn:aws:kms:us-east-1:123456789012:key/1234"]
      Condition = { StringEquals = { "kms:ViaService" = "s3.us-east-1.amazonaws.com" } }
    })
    error_message = "The bucket, through S3 alone."
  }
}

run "key_can_be_named_by_its_alias" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    kms_key_arn   = "arn:aws:kms:us-east-1:123456789012:key/1234"
    kms_key_alias = "alias/whippet-test"
  }

  assert {
    condition = contains(jsondecode(aws_iam_role_policy.this.policy).Statement, {
      Sid      = "UseKeyForArtifacts"
      Effect   = "Allow"
      Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource = ["arn:aws:kms:us-east-1:123456789012:key/*"]
      Condition = {
        StringEquals               = { "kms:ViaService" = "s3.us-east-1.amazonaws.com" }
        "ForAnyValue:StringEquals" = { "kms:ResourceAliases" = ["alias/whippet-test"] }
      }
    })
    error_message = "Any key of that alias, and no other."
  }
}

run "boundary_bounds_the_role" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/boundary"
  }

  assert {
    condition     = aws_iam_role.this.permissions_boundary == "arn:aws:iam::123456789012:policy/boundary"
    error_message = "The boundary given."
  }
}

run "notebook_in_a_subnet_has_no_internet_of_its_own" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    subnet_id          = "subnet-1"
    security_group_ids = ["sg-1"]
  }

  assert {
    condition     = aws_sagemaker_notebook_instance.this.direct_internet_access == "Disabled"
    error_message = "Where a VPC is given, the way out is the VPC's."
  }
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

run "endpoint_pattern_is_refused" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    endpoint_arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/*"
  }

  expect_failures = [var.endpoint_arn]
}

run "script_as_a_notebook_is_refused" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    notebook_files = ["train.py"]
  }

  expect_failures = [var.notebook_files]
}

run "notebooks_prefix_without_slash_is_refused" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    notebooks_prefix = "notebooks"
  }

  expect_failures = [var.notebooks_prefix]
}

run "five_idle_minutes_is_refused" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    idle_minutes = 5
  }

  expect_failures = [var.idle_minutes]
}

run "key_id_as_an_alias_is_refused" {
  command = plan

  module {
    source = "./modules/notebook"
  }

  variables {
    kms_key_alias = "1234"
  }

  expect_failures = [var.kms_key_alias]
}
