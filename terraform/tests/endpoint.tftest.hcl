mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name              = "whippet-test"
  model_s3_uri      = "s3://bucket/models/0123456789abcdef/model.tar.gz"
  model_objects_arn = "arn:aws:s3:::bucket/models/*"
}

run "role_reads_the_model_pulls_the_image_and_reports" {
  module {
    source = "./modules/endpoint"
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.this.policy).Statement == [
      {
        Sid      = "ReadModel"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "arn:aws:s3:::bucket/models/*"
      },
      {
        Sid      = "PullImage"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = "arn:aws:ecr:us-east-1:763104351884:repository/pytorch-inference"
      },
      {
        Sid      = "LogInToRegistry"
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = "arn:aws:logs:us-east-1:123456789012:log-group:mock-log-group:*"
      },
      {
        Sid       = "PublishMetrics"
        Effect    = "Allow"
        Action    = "cloudwatch:PutMetricData"
        Resource  = "*"
        Condition = { StringLike = { "cloudwatch:namespace" = ["/aws/sagemaker/*", "AWS/SageMaker"] } }
      },
    ]
    error_message = "The execution role has exactly these five statements."
  }

  assert {
    condition     = jsondecode(aws_iam_role.this.assume_role_policy).Statement[0].Principal == { Service = "sagemaker.amazonaws.com" }
    error_message = "SageMaker alone may take the role."
  }
}

run "container_is_isolated_and_finds_its_code" {
  module {
    source = "./modules/endpoint"
  }

  assert {
    condition     = aws_sagemaker_model.this.enable_network_isolation
    error_message = "The container has no network by default."
  }

  assert {
    condition     = aws_sagemaker_model.this.primary_container[0].environment == tomap({ SAGEMAKER_PROGRAM = "inference.py" })
    error_message = "The stock container is told which module to import."
  }
}

run "variant_can_be_scaled" {
  module {
    source = "./modules/endpoint"
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.production_variants[0].variant_name == "AllTraffic"
    error_message = "The variant is AllTraffic."
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.production_variants[0].instance_type == "ml.m5.large"
    error_message = "The default instance can autoscale."
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.name_prefix == "whippet-test-"
    error_message = "A prefix lets two configurations exist during an update."
  }
}

run "logs_have_a_retention_and_the_name_sagemaker_writes_to" {
  module {
    source = "./modules/endpoint"
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.name == "/aws/sagemaker/Endpoints/whippet-test" && aws_cloudwatch_log_group.this.retention_in_days == 30
    error_message = "The log group is SageMaker's, kept for 30 days."
  }
}

run "another_archive_makes_another_model" {
  module {
    source = "./modules/endpoint"
  }

  variables {
    model_s3_uri = "s3://bucket/models/fedcba9876543210/model.tar.gz"
  }

  assert {
    condition     = output.model_name != run.variant_can_be_scaled.model_name
    error_message = "A model is replaced under a new name."
  }
}

run "another_image_makes_another_model_and_another_permission" {
  module {
    source = "./modules/endpoint"
  }

  variables {
    image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/whippet@sha256:0f"
  }

  assert {
    condition     = output.model_name != run.variant_can_be_scaled.model_name
    error_message = "A model is replaced under a new name."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[1].Resource == "arn:aws:ecr:eu-central-1:123456789012:repository/team/whippet"
    error_message = "The role may pull from the image's own repository only."
  }
}

run "longest_name_fits" {
  module {
    source = "./modules/endpoint"
  }

  variables {
    name = "a123456789b123456789c123456789d12345"
  }

  assert {
    condition     = length(output.model_name) <= 63
    error_message = "A model's name has at most 63 characters."
  }
}

run "burstable_instance_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    instance_type = "ml.t2.medium"
  }

  expect_failures = [var.instance_type]
}

run "ec2_instance_type_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    instance_type = "m5.large"
  }

  expect_failures = [var.instance_type]
}

run "no_instance_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    initial_instance_count = 0
  }

  expect_failures = [var.initial_instance_count]
}

run "image_outside_ecr_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    image = "docker.io/library/python:3.12"
  }

  expect_failures = [var.image]
}

run "model_that_is_no_s3_uri_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    model_s3_uri = "https://bucket.s3.amazonaws.com/model.tar.gz"
  }

  expect_failures = [var.model_s3_uri]
}

run "whole_bucket_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    model_objects_arn = "arn:aws:s3:::*/*"
  }

  expect_failures = [var.model_objects_arn]
}

run "name_with_37_characters_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    name = "a123456789b123456789c123456789d123456"
  }

  expect_failures = [var.name]
}

run "variant_name_with_underscore_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    variant_name = "all_traffic"
  }

  expect_failures = [var.variant_name]
}

run "retention_that_cloudwatch_does_not_know_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    log_retention_days = 31
  }

  expect_failures = [var.log_retention_days]
}
