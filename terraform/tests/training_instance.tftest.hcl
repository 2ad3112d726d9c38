mock_provider "aws" {
  source = "./tests/mocks"
}

override_data {
  target = data.aws_caller_identity.this
  values = { account_id = "123456789012" }
}

override_data {
  target = data.aws_region.this
  values = { id = "eu-central-1" }
}

override_data {
  target = data.aws_default_tags.this
  values = { tags = { Project = "whippet" } }
}

override_data {
  target = data.aws_ami.this
  values = { root_device_name = "/dev/xvda" }
}

override_data {
  target = data.aws_vpc.default
  values = { id = "vpc-0123456789abcdef0" }
}

override_data {
  target = data.aws_subnets.default
  values = { ids = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"] }
}

variables {
  name                    = "whippet-test"
  bucket                  = "bucket"
  training_package_s3_uri = "s3://code/training/0123456789abcdef/training.zip"
}

run "nothing_comes_in_and_only_https_goes_out" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  assert {
    condition     = length(aws_security_group.this.ingress) == 0 && aws_security_group.this.vpc_id == "vpc-0123456789abcdef0"
    error_message = "No inbound rule."
  }

  assert {
    condition     = length(aws_security_group.this.egress) == 1 && one(aws_security_group.this.egress).from_port == 443 && one(aws_security_group.this.egress).to_port == 443
    error_message = "HTTPS out, nothing else."
  }
}

run "machine_is_hardened_and_terminates_when_it_shuts_down" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  assert {
    condition     = aws_launch_template.this.metadata_options[0].http_tokens == "required" && aws_launch_template.this.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "IMDSv2, one hop."
  }

  assert {
    condition     = aws_launch_template.this.block_device_mappings[0].device_name == "/dev/xvda"
    error_message = "The disk's settings are for the image's root device."
  }

  assert {
    condition     = tobool(aws_launch_template.this.block_device_mappings[0].ebs[0].encrypted) && tobool(aws_launch_template.this.block_device_mappings[0].ebs[0].delete_on_termination) && aws_launch_template.this.block_device_mappings[0].ebs[0].volume_size == 30
    error_message = "The disk is encrypted, goes with the instance, and has the cpu family's size."
  }

  assert {
    condition     = aws_launch_template.this.instance_initiated_shutdown_behavior == "terminate"
    error_message = "Shutting down terminates."
  }

  assert {
    condition     = aws_launch_template.this.key_name == null
    error_message = "No SSH key."
  }

  assert {
    condition     = { for one in aws_launch_template.this.tag_specifications : one.resource_type => one.tags } == { for type in ["instance", "volume", "network-interface"] : type => tomap({ Project = "whippet", Name = "whippet-test-training" }) }
    error_message = "What the group launches carries the provider's default tags."
  }
}

run "group_has_one_instance_at_most_and_is_left_alone_afterwards" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  assert {
    condition     = [aws_autoscaling_group.this.min_size, aws_autoscaling_group.this.desired_capacity, aws_autoscaling_group.this.max_size] == [0, 1, 1]
    error_message = "Training starts at apply, and the instance may leave."
  }

  assert {
    condition     = aws_autoscaling_group.this.wait_for_capacity_timeout == "0" && aws_autoscaling_group.this.vpc_zone_identifier == toset(["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"])
    error_message = "Apply does not wait for capacity, in any default subnet."
  }

  assert {
    condition     = aws_autoscaling_group.this.mixed_instances_policy[0].instances_distribution[0].on_demand_percentage_above_base_capacity == 100
    error_message = "On demand unless asked otherwise."
  }
}

run "training_can_wait_for_a_command" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    train_on_apply = false
  }

  assert {
    condition     = aws_autoscaling_group.this.desired_capacity == 0 && terraform_data.run.triggers_replace == "by hand"
    error_message = "No instance, and no new run when a setting changes."
  }

  assert {
    condition     = output.start_command == "aws autoscaling set-desired-capacity --region eu-central-1 --auto-scaling-group-name whippet-test-training --desired-capacity 1"
    error_message = "The output says how to start."
  }
}

run "spot_takes_other_types_as_well" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    spot = { max_usd_per_hour = 0.05, other_instance_types = ["m6i.large", "t3a.large"] }
  }

  assert {
    condition     = aws_autoscaling_group.this.mixed_instances_policy[0].instances_distribution[0].on_demand_percentage_above_base_capacity == 0 && aws_autoscaling_group.this.mixed_instances_policy[0].instances_distribution[0].spot_max_price == "0.05"
    error_message = "Spot only, up to the price."
  }

  assert {
    condition     = [for override in aws_autoscaling_group.this.mixed_instances_policy[0].launch_template[0].override : override.instance_type] == ["t3.large", "m6i.large", "t3a.large"]
    error_message = "The types, the wanted one first."
  }
}

run "time_limit_holds_without_the_instance" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  assert {
    condition     = [aws_autoscaling_policy.stop.adjustment_type, aws_autoscaling_policy.stop.scaling_adjustment] == ["ExactCapacity", 0]
    error_message = "The policy ends the run."
  }

  assert {
    condition     = [aws_cloudwatch_metric_alarm.time_limit.period, aws_cloudwatch_metric_alarm.time_limit.evaluation_periods, aws_cloudwatch_metric_alarm.time_limit.statistic, aws_cloudwatch_metric_alarm.time_limit.treat_missing_data] == [60, 240, "Minimum", "notBreaching"]
    error_message = "After 240 minutes in which one instance was wanted."
  }

  assert {
    condition     = strcontains(base64decode(aws_launch_template.this.user_data), "TIME_LIMIT_MINUTES='240'")
    error_message = "The script has the same limit."
  }
}

run "time_limit_of_days_is_counted_in_hours" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    time_limit_minutes = 3000
  }

  assert {
    condition     = [aws_cloudwatch_metric_alarm.time_limit.period, aws_cloudwatch_metric_alarm.time_limit.evaluation_periods] == [3600, 50]
    error_message = "CloudWatch looks back no further than a day over minutes."
  }
}

run "role_may_do_what_the_script_does" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    session_manager = false
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.this.policy).Statement == [
      {
        Sid       = "ListPhotosAndCheckpoints"
        Effect    = "Allow"
        Action    = ["s3:ListBucket"]
        Resource  = ["arn:aws:s3:::bucket"]
        Condition = { StringLike = { "s3:prefix" = ["data/*", "checkpoints/*"] } }
      },
      {
        Sid      = "ReadPhotosCodeAndCheckpoints"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = ["arn:aws:s3:::bucket/data/*", "arn:aws:s3:::bucket/checkpoints/*", "arn:aws:s3:::code/training/0123456789abcdef/training.zip"]
      },
      {
        Sid      = "WriteRunsAndCheckpoints"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = ["arn:aws:s3:::bucket/runs/*", "arn:aws:s3:::bucket/checkpoints/*"]
      },
      {
        Sid      = "WriteLog"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["arn:aws:logs:eu-central-1:123456789012:log-group:/whippet-test/training:*"]
      },
      {
        Sid      = "NameNewestModel"
        Effect   = "Allow"
        Action   = ["ssm:PutParameter"]
        Resource = ["arn:aws:ssm:eu-central-1:123456789012:parameter/whippet-test/model-s3-uri"]
      },
      {
        Sid      = "LeaveTheGroup"
        Effect   = "Allow"
        Action   = ["autoscaling:TerminateInstanceInAutoScalingGroup"]
        Resource = ["arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:*:autoScalingGroupName/whippet-test-training"]
      },
    ]
    error_message = "The role has exactly these statements."
  }

  assert {
    condition     = jsondecode(aws_iam_role.this.assume_role_policy).Statement == [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
    error_message = "EC2 takes the role."
  }
}

run "session_manager_adds_what_its_agent_needs" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  assert {
    condition     = [for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement.Sid if contains(statement.Resource, "*")] == ["SessionManager"]
    error_message = "Only Session Manager's statement names no resource."
  }

  assert {
    condition     = alltrue([for action in jsondecode(aws_iam_role_policy.this.policy).Statement[6].Action : startswith(action, "ssm")])
    error_message = "It is about Systems Manager only."
  }
}

run "given_key_may_be_used_through_s3" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    kms_key_arn     = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
    session_manager = false
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.this.policy).Statement[6] == {
      Sid       = "UseBucketKey"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = [var.kms_key_arn]
      Condition = { StringEquals = { "kms:ViaService" = "s3.eu-central-1.amazonaws.com" } }
    }
    error_message = "The key, for S3 only."
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.kms_key_id == var.kms_key_arn
    error_message = "The log group is encrypted by the key."
  }
}

run "own_key_is_named_by_its_alias" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    kms_key_alias   = "alias/whippet-test"
    session_manager = false
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.this.policy).Statement[6] == {
      Sid      = "UseBucketKey"
      Effect   = "Allow"
      Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource = ["arn:aws:kms:eu-central-1:123456789012:key/*"]
      Condition = {
        StringEquals               = { "kms:ViaService" = "s3.eu-central-1.amazonaws.com" }
        "ForAnyValue:StringEquals" = { "kms:ResourceAliases" = ["alias/whippet-test"] }
      }
    }
    error_message = "Any key that has the alias, for S3 only."
  }
}

run "role_has_the_boundary" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/boundary"
  }

  assert {
    condition     = aws_iam_role.this.permissions_boundary == var.permissions_boundary_arn
    error_message = "The boundary bounds the role."
  }
}

run "model_parameter_says_none_until_a_run_ends" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  assert {
    condition     = aws_ssm_parameter.model.name == "/whippet-test/model-s3-uri" && aws_ssm_parameter.model.insecure_value == "none" && aws_ssm_parameter.model.type == "String"
    error_message = "The module makes the parameter, training its value."
  }
}

run "log_group_keeps_logs_as_long_as_asked" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    log_retention_days = 7
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.retention_in_days == 7
    error_message = "Seven days."
  }
}

run "time_limit_is_told" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    alarm_actions = ["arn:aws:sns:eu-central-1:123456789012:alarms"]
  }

  assert {
    condition     = contains(aws_cloudwatch_metric_alarm.time_limit.alarm_actions, "arn:aws:sns:eu-central-1:123456789012:alarms")
    error_message = "The topic hears of it, beside the policy."
  }
}

run "processor_gets_amazon_linux" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  assert {
    condition     = data.aws_ssm_parameter.ami[0].name == "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64" && aws_launch_template.this.image_id == "ami-0123456789abcdef0"
    error_message = "A t3.large gets Amazon Linux 2023, by its public parameter."
  }
}

run "graviton_gets_the_arm_image" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    instance_type = "m7gd.large"
  }

  assert {
    condition     = data.aws_ssm_parameter.ami[0].name == "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
    error_message = "Graviton is arm64."
  }
}

run "gpu_gets_the_deep_learning_ami" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    instance_type = "g4dn.xlarge"
  }

  assert {
    condition     = data.aws_ssm_parameter.ami[0].name == "/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.10-ubuntu-24.04/latest/ami-id" && aws_launch_template.this.block_device_mappings[0].ebs[0].volume_size == 100
    error_message = "The Deep Learning AMI with PyTorch, and room for it."
  }
}

run "gpu_image_without_a_gpu_warns" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    ami_family = "gpu"
  }

  expect_failures = [check.gpu_image_has_a_gpu]
}

run "gpu_image_by_its_parameter_without_a_gpu_warns" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    ami_ssm_parameter = "/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.5-ubuntu-22.04/latest/ami-id"
  }

  expect_failures = [check.gpu_image_has_a_gpu]
}

run "amd_gpu_is_no_nvidia_gpu" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    instance_type = "g4ad.xlarge"
    ami_family    = "gpu"
  }

  expect_failures = [check.gpu_image_has_a_gpu]
}

run "gpu_without_a_gpu_image_warns" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    instance_type = "g5.xlarge"
    ami_family    = "cpu"
  }

  expect_failures = [check.gpu_has_a_gpu_image]
}

run "own_ami_asks_no_parameter" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    ami_id      = "ami-00000000000000001"
    volume_size = 50
  }

  assert {
    condition     = length(data.aws_ssm_parameter.ami) == 0 && aws_launch_template.this.image_id == "ami-00000000000000001" && aws_launch_template.this.block_device_mappings[0].ebs[0].volume_size == 50
    error_message = "The given AMI is used."
  }

  assert {
    condition     = strcontains(base64decode(aws_launch_template.this.user_data), "# Image: ami-00000000000000001")
    error_message = "Another image is another run."
  }
}

run "own_vpc_asks_for_no_default_one" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    vpc = { id = "vpc-1", subnet_ids = ["subnet-1"] }
  }

  assert {
    condition     = length(data.aws_vpc.default) == 0 && aws_security_group.this.vpc_id == "vpc-1" && aws_autoscaling_group.this.vpc_zone_identifier == toset(["subnet-1"])
    error_message = "The given VPC and subnets are used."
  }
}

run "settings_reach_the_script" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    hyperparameters     = { seed = "7", learning-rate = "0.01" }
    pip_index_url       = "https://packages.example.org/simple"
    terminate_when_done = false
  }

  assert {
    condition = alltrue([
      for line in ["FLAGS='--learning-rate=0.01 --seed=7'", "PIP_INDEX_URL='https://packages.example.org/simple'", "TERMINATE_WHEN_DONE='false'", "BUCKET='bucket'"] :
      strcontains(base64decode(aws_launch_template.this.user_data), "\n${line}\n")
    ])
    error_message = "The script starts with the settings."
  }
}

run "region_without_default_subnets_is_told" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  override_data {
    target = data.aws_subnets.default
    values = { ids = [] }
  }

  expect_failures = [aws_autoscaling_group.this]
}

run "types_for_different_images_are_refused" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    spot = { other_instance_types = ["m7g.large"] }
  }

  expect_failures = [aws_launch_template.this]
}

run "script_that_is_too_long_for_ec2_is_refused" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    hyperparameters = { for number in range(1000) : "a-hyperparameter-${number}" => "1" }
  }

  expect_failures = [aws_launch_template.this]
}

run "one_wrong_value_of_each_variable_is_refused" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    name                        = "whippet.test"
    instance_type               = "ml.m5.large"
    spot                        = { max_usd_per_hour = 0 }
    ami_family                  = "tpu"
    ami_id                      = "ubuntu"
    volume_size                 = 4
    volume_kms_key_arn          = "alias/aws/ebs"
    vpc                         = { id = "vpc-1", subnet_ids = [] }
    bucket                      = "s3://bucket"
    data_prefix                 = "data"
    runs_prefix                 = "runs"
    checkpoints_prefix          = "checkpoints"
    checkpoint_interval_seconds = 0
    training_package_s3_uri     = "s3://bucket/training.rar"
    hyperparameters             = { seed = "0'; id" }
    torch_requirements          = ["torch"]
    pip_index_url               = "https://me:secret@packages.example.org/simple"
    time_limit_minutes          = 1
    kms_key_alias               = "whippet"
    log_retention_days          = 8
    permissions_boundary_arn    = "boundary"
  }

  expect_failures = [
    var.name,
    var.instance_type,
    var.spot,
    var.ami_family,
    var.ami_id,
    var.volume_size,
    var.volume_kms_key_arn,
    var.vpc,
    var.bucket,
    var.data_prefix,
    var.runs_prefix,
    var.checkpoints_prefix,
    var.checkpoint_interval_seconds,
    var.training_package_s3_uri,
    var.hyperparameters,
    var.torch_requirements,
    var.pip_index_url,
    var.time_limit_minutes,
    var.kms_key_alias,
    var.log_retention_days,
    var.permissions_boundary_arn,
  ]
}

run "other_wrong_values_are_refused" {
  command = plan

  module {
    source = "./modules/training_instance"
  }

  variables {
    name              = "ssm-whippet"
    spot              = { other_instance_types = ["ml.m5.large"] }
    ami_id            = "ami-00000000000000001"
    ami_ssm_parameter = "/own/image"
  }

  expect_failures = [
    var.name,
    var.spot,
    var.ami_id,
  ]
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
