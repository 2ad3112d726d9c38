mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                    = "whippet-test"
  region                  = "us-east-1"
  bucket                  = "bucket"
  training_package_s3_uri = "s3://bucket/training/0123456789abcdef/training.zip"
}

run "nothing_comes_in_and_only_https_goes_out" {
  module {
    source = "./modules/training_instance"
  }

  assert {
    condition     = length(aws_security_group.this.ingress) == 0
    error_message = "No inbound rule."
  }

  assert {
    condition     = length(aws_security_group.this.egress) == 1 && one(aws_security_group.this.egress).from_port == 443 && one(aws_security_group.this.egress).to_port == 443
    error_message = "HTTPS out, nothing else."
  }
}

run "instance_is_hardened" {
  module {
    source = "./modules/training_instance"
  }

  assert {
    condition     = aws_instance.this.metadata_options[0].http_tokens == "required" && aws_instance.this.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "IMDSv2, one hop."
  }

  assert {
    condition     = aws_instance.this.root_block_device[0].encrypted
    error_message = "The disk is encrypted."
  }

  assert {
    condition     = aws_instance.this.instance_type == "t3.large" && aws_instance.this.ami == "ami-0123456789abcdef0"
    error_message = "A t3.large with the AMI of the parameter."
  }

  assert {
    condition     = data.aws_ssm_parameter.ami[0].name == "/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.5-ubuntu-22.04/latest/ami-id"
    error_message = "The Deep Learning AMI with PyTorch 2.5."
  }

  assert {
    condition     = aws_instance.this.user_data_replace_on_change
    error_message = "Another package or hyperparameter trains again."
  }
}

run "role_reads_data_and_code_and_writes_runs" {
  module {
    source = "./modules/training_instance"
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.this.policy).Statement == [
      {
        Sid       = "ListData"
        Effect    = "Allow"
        Action    = ["s3:ListBucket"]
        Resource  = ["arn:aws:s3:::bucket"]
        Condition = { StringLike = { "s3:prefix" = ["data/*"] } }
      },
      {
        Sid      = "ReadDataAndCode"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = ["arn:aws:s3:::bucket/data/*", "arn:aws:s3:::bucket/training/0123456789abcdef/training.zip"]
      },
      {
        Sid      = "WriteRuns"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = ["arn:aws:s3:::bucket/runs/*"]
      },
    ]
    error_message = "The role has exactly these three statements."
  }
}

run "session_manager_adds_what_its_agent_needs" {
  module {
    source = "./modules/training_instance"
  }

  variables {
    session_manager = true
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[3].Sid == "SessionManager"
    error_message = "One statement more."
  }

  assert {
    condition     = alltrue([for action in jsondecode(aws_iam_role_policy.this.policy).Statement[3].Action : startswith(action, "ssm")])
    error_message = "It is about Systems Manager only."
  }
}

run "own_ami_asks_no_parameter" {
  module {
    source = "./modules/training_instance"
  }

  variables {
    ami_id = "ami-00000000000000001"
  }

  assert {
    condition     = length(data.aws_ssm_parameter.ami) == 0 && strcontains(aws_instance.this.user_data, "Machine image: ami-00000000000000001")
    error_message = "The given AMI is used, and naming it in the user data replaces an instance that has another."
  }
}

run "ami_that_is_no_id_is_refused" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    ami_id = "ubuntu"
  }

  expect_failures = [var.ami_id]
}

run "relative_parameter_name_is_refused" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    ami_ssm_parameter = "aws/service/ami"
  }

  expect_failures = [var.ami_ssm_parameter]
}

run "sagemaker_instance_type_is_refused" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    instance_type = "ml.m5.large"
  }

  expect_failures = [var.instance_type]
}

run "hyperparameter_with_a_quote_is_refused" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    hyperparameters = { seed = "0'; id" }
  }

  expect_failures = [var.hyperparameters]
}

run "subnet_without_its_vpc_is_refused" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    subnet_id = "subnet-1"
  }

  expect_failures = [var.vpc_id]
}

run "data_prefix_without_slash_is_refused" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    data_prefix = "data"
  }

  expect_failures = [var.data_prefix]
}

run "runs_prefix_without_slash_is_refused" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    runs_prefix = "runs"
  }

  expect_failures = [var.runs_prefix]
}

run "tiny_disk_is_refused" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    volume_size = 4
  }

  expect_failures = [var.volume_size]
}

run "package_of_another_format_is_refused" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    training_package_s3_uri = "s3://bucket/training.rar"
  }

  expect_failures = [var.training_package_s3_uri]
}

run "name_with_a_dot_is_refused" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    name = "whippet.test"
  }

  expect_failures = [var.name]
}
