mock_provider "aws" {
  source = "./tests/mocks"

  mock_data "aws_region" {
    defaults = { id = "us-east-1", name = "us-east-1" }
  }
}

variables {
  name         = "whippet-test"
  model_s3_uri = "s3://bucket/models/0123456789abcdef/model.tar.gz"
}

################################################################################
# Defaults
################################################################################

run "defaults_are_one_isolated_real_time_variant" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.production_variants[0].variant_name == "AllTraffic" && length(aws_sagemaker_endpoint_configuration.this.production_variants) == 1
    error_message = "One variant, AllTraffic."
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.production_variants[0].instance_type == "ml.m5.large" && aws_sagemaker_endpoint_configuration.this.production_variants[0].initial_instance_count == 1
    error_message = "One instance that can autoscale."
  }

  assert {
    condition     = one(aws_sagemaker_endpoint_configuration.this.production_variants[0].routing_config).routing_strategy == "LEAST_OUTSTANDING_REQUESTS"
    error_message = "A request goes to the instance with the fewest under way."
  }

  assert {
    condition     = length(aws_sagemaker_endpoint_configuration.this.production_variants[0].serverless_config) == 0 && length(aws_sagemaker_endpoint_configuration.this.async_inference_config) == 0 && length(aws_sagemaker_endpoint_configuration.this.data_capture_config) == 0
    error_message = "Real-time, and nothing is captured."
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.name_prefix == "whippet-test-"
    error_message = "A prefix lets two configurations exist during an update."
  }

  assert {
    condition     = aws_sagemaker_model.this["AllTraffic"].enable_network_isolation
    error_message = "The container has no network."
  }

  assert {
    condition     = aws_sagemaker_model.this["AllTraffic"].primary_container[0].environment == tomap({ SAGEMAKER_PROGRAM = "inference.py" })
    error_message = "The stock container is told which module to import."
  }

  assert {
    condition     = length(aws_sagemaker_model.this["AllTraffic"].vpc_config) == 0 && length(aws_sagemaker_endpoint.this.deployment_config) == 0
    error_message = "No VPC; AWS's own way of updating."
  }

  assert {
    condition     = data.aws_sagemaker_prebuilt_ecr_image.stock["cpu"].image_tag == "2.6.0-cpu-py312-ubuntu22.04-sagemaker"
    error_message = "The stock container for CPUs."
  }
}

run "role_may_do_five_things" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.this.policy).Statement == [
      {
        Sid      = "ReadModel"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = ["arn:aws:s3:::bucket/models/*"]
      },
      {
        Sid      = "PullImage"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = ["arn:aws:ecr:us-east-1:763104351884:repository/pytorch-inference"]
      },
      {
        Sid      = "LogInToRegistry"
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = ["*"]
      },
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = ["arn:aws:logs:us-east-1:123456789012:log-group:/aws/sagemaker/Endpoints/whippet-test:*"]
      },
      {
        Sid       = "PublishMetrics"
        Effect    = "Allow"
        Action    = ["cloudwatch:PutMetricData"]
        Resource  = ["*"]
        Condition = { StringLike = { "cloudwatch:namespace" = ["/aws/sagemaker/*", "AWS/SageMaker"] } }
      },
    ]
    error_message = "The execution role has exactly these five statements."
  }
}

run "sagemaker_of_this_account_may_take_the_role" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  assert {
    condition = jsondecode(aws_iam_role.this.assume_role_policy).Statement == [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "sagemaker.amazonaws.com" }
      Condition = {
        StringEquals = { "aws:SourceAccount" = "123456789012" }
        ArnLike      = { "aws:SourceArn" = "arn:aws:sagemaker:us-east-1:123456789012:*" }
      }
    }]
    error_message = "SageMaker alone, and only for resources of this account and region."
  }

  assert {
    condition     = aws_iam_role.this.permissions_boundary == null
    error_message = "No boundary unless one is given."
  }
}

run "logs_have_a_retention_and_the_name_sagemaker_writes_to" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.name == "/aws/sagemaker/Endpoints/whippet-test" && aws_cloudwatch_log_group.this.retention_in_days == 30
    error_message = "The log group is SageMaker's, kept for 30 days."
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.kms_key_id == null
    error_message = "With AWS's own encryption."
  }
}

run "outputs_are_what_callers_need" {
  module {
    source = "./modules/endpoint"
  }

  assert {
    condition     = output.name == "whippet-test" && output.variant_name == "AllTraffic"
    error_message = "Endpoint and variant by name."
  }

  assert {
    condition     = startswith(output.model_name, "whippet-test-") && output.model_s3_uri == "s3://bucket/models/0123456789abcdef/model.tar.gz"
    error_message = "Model by name and archive."
  }

  assert {
    condition     = output.variants["AllTraffic"].instance_type == "ml.m5.large" && output.variants["AllTraffic"].initial_instance_count == 1
    error_message = "What autoscaling asks for."
  }

  assert {
    condition     = output.log_group_name == "/aws/sagemaker/Endpoints/whippet-test" && output.role_name == "whippet-test-endpoint"
    error_message = "Log group and role by name."
  }

  assert {
    condition     = output.configuration_name != "" && output.arn != "" && output.role_arn != "" && output.image != ""
    error_message = "The rest is there."
  }
}

################################################################################
# Kinds of endpoint
################################################################################

run "real_time_can_route_at_random" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    real_time = { routing_strategy = "RANDOM" }
  }

  assert {
    condition     = one(aws_sagemaker_endpoint_configuration.this.production_variants[0].routing_config).routing_strategy == "RANDOM"
    error_message = "As asked."
  }
}

run "serverless_has_memory_and_no_instances" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    serverless = { provisioned_concurrency = 1 }
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.production_variants[0].serverless_config[0].memory_size_in_mb == 3072 && aws_sagemaker_endpoint_configuration.this.production_variants[0].serverless_config[0].max_concurrency == 5 && aws_sagemaker_endpoint_configuration.this.production_variants[0].serverless_config[0].provisioned_concurrency == 1
    error_message = "3 GB, 5 at once, one kept warm."
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.production_variants[0].instance_type == null && aws_sagemaker_endpoint_configuration.this.production_variants[0].initial_instance_count == null && length(aws_sagemaker_endpoint_configuration.this.production_variants[0].routing_config) == 0
    error_message = "No instances, nothing to route."
  }

  assert {
    condition     = !aws_sagemaker_model.this["AllTraffic"].enable_network_isolation
    error_message = "Serverless has no network isolation."
  }
}

run "asynchronous_reads_and_writes_s3" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    instance_type = "ml.g5.xlarge"
    asynchronous = {
      output_s3_uri                           = "s3://bucket/answers/"
      failure_s3_uri                          = "s3://bucket/failures"
      input_s3_uris                           = ["s3://photos/queue"]
      max_concurrent_invocations_per_instance = 4
      success_topic_arn                       = "arn:aws:sns:us-east-1:123456789012:answers"
      error_topic_arn                         = "arn:aws:sns:us-east-1:123456789012:failures"
    }
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.async_inference_config[0].output_config[0].s3_output_path == "s3://bucket/answers/" && aws_sagemaker_endpoint_configuration.this.async_inference_config[0].output_config[0].s3_failure_path == "s3://bucket/failures"
    error_message = "Answers and failures have their places."
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.async_inference_config[0].client_config[0].max_concurrent_invocations_per_instance == 4
    error_message = "Four at once on an instance."
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.async_inference_config[0].output_config[0].notification_config[0].success_topic == "arn:aws:sns:us-east-1:123456789012:answers"
    error_message = "A topic hears of answers."
  }

  assert {
    condition     = length(aws_sagemaker_endpoint_configuration.this.production_variants[0].routing_config) == 0 && aws_sagemaker_endpoint_configuration.this.production_variants[0].instance_type == "ml.g5.xlarge"
    error_message = "On instances, which take from a queue."
  }

  assert {
    condition     = [for one in jsondecode(aws_iam_role_policy.this.policy).Statement : [one.Action, one.Resource] if contains(["ReadRequests", "WriteAnswersAndCapture", "Notify"], one.Sid)] == [[["s3:GetObject"], ["arn:aws:s3:::photos/queue/*"]], [["s3:AbortMultipartUpload", "s3:PutObject"], ["arn:aws:s3:::bucket/answers/*", "arn:aws:s3:::bucket/failures/*"]], [["sns:Publish"], ["arn:aws:sns:us-east-1:123456789012:answers", "arn:aws:sns:us-east-1:123456789012:failures"]]]
    error_message = "The role reads requests, writes answers, and notifies."
  }
}

run "asynchronous_alone_needs_two_places" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    asynchronous = { output_s3_uri = "s3://bucket/answers", input_s3_uris = ["s3://bucket/queue"] }
  }

  assert {
    condition     = length(aws_sagemaker_endpoint_configuration.this.async_inference_config[0].client_config) == 0 && length(aws_sagemaker_endpoint_configuration.this.async_inference_config[0].output_config[0].notification_config) == 0
    error_message = "The rest is optional."
  }
}

################################################################################
# Model
################################################################################

run "another_archive_makes_another_model" {
  module {
    source = "./modules/endpoint"
  }

  variables {
    model_s3_uri = "s3://bucket/models/fedcba9876543210/model.tar.gz"
  }

  assert {
    condition     = output.model_name != run.outputs_are_what_callers_need.model_name
    error_message = "A model is replaced under a new name."
  }
}

run "local_archive_is_uploaded_under_its_hash" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    model_s3_uri  = null
    model_archive = "./tests/fixtures/model.tar.gz"
    model_upload  = { bucket = "team-models" }
  }

  assert {
    condition     = aws_s3_object.model["./tests/fixtures/model.tar.gz"].key == "models/${substr(filesha256("./tests/fixtures/model.tar.gz"), 0, 16)}/model.tar.gz"
    error_message = "The key holds the hash."
  }

  assert {
    condition     = aws_sagemaker_model.this["AllTraffic"].primary_container[0].model_data_url == "s3://team-models/models/${substr(filesha256("./tests/fixtures/model.tar.gz"), 0, 16)}/model.tar.gz"
    error_message = "The model is the upload."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[0].Resource == ["arn:aws:s3:::team-models/models/*"]
    error_message = "The role reads the upload's folder."
  }
}

run "model_from_an_ssm_parameter" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    model_s3_uri        = null
    model_ssm_parameter = "/whippet/model-s3-uri"
  }

  override_data {
    target = data.aws_ssm_parameter.model
    values = { insecure_value = "s3://trained/runs/7/model.tar.gz" }
  }

  assert {
    condition     = aws_sagemaker_model.this["AllTraffic"].primary_container[0].model_data_url == "s3://trained/runs/7/model.tar.gz"
    error_message = "The model is what the parameter names."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[0].Resource == ["arn:aws:s3:::trained/runs/*"]
    error_message = "The role reads the folder of the runs."
  }
}

run "model_objects_can_be_said" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    model_objects_arn = "arn:aws:s3:::bucket/models/v*/model.tar.gz"
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[0].Resource == ["arn:aws:s3:::bucket/models/v*/model.tar.gz"]
    error_message = "Just these."
  }
}

run "model_without_a_folder_is_read_alone" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    model_s3_uri = "s3://bucket/model.tar.gz"
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[0].Resource == ["arn:aws:s3:::bucket/model.tar.gz"]
    error_message = "Not the whole bucket."
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

################################################################################
# Container
################################################################################

run "another_image_makes_another_model_and_another_permission" {
  module {
    source = "./modules/endpoint"
  }

  variables {
    image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/whippet@sha256:0f"
  }

  assert {
    condition     = output.model_name != run.outputs_are_what_callers_need.model_name
    error_message = "A model is replaced under a new name."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[1].Resource == ["arn:aws:ecr:eu-central-1:123456789012:repository/team/whippet"]
    error_message = "The role may pull from the image's own repository only."
  }

  assert {
    condition     = length(data.aws_sagemaker_prebuilt_ecr_image.stock) == 0
    error_message = "The stock container is not looked up."
  }
}

run "gpu_instance_gets_the_gpu_container" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    instance_type   = "ml.g4dn.xlarge"
    pytorch_version = "2.5.1"
  }

  assert {
    condition     = data.aws_sagemaker_prebuilt_ecr_image.stock["gpu"].image_tag == "2.5.1-gpu-py311-cu124-ubuntu22.04-sagemaker"
    error_message = "Version and processor choose the tag."
  }

  assert {
    condition     = length(data.aws_sagemaker_prebuilt_ecr_image.stock) == 1
    error_message = "And no other is looked up."
  }
}

run "environment_is_added" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    environment = { SAGEMAKER_MODEL_SERVER_WORKERS = "2" }
  }

  assert {
    condition     = aws_sagemaker_model.this["AllTraffic"].primary_container[0].environment == tomap({ SAGEMAKER_MODEL_SERVER_WORKERS = "2", SAGEMAKER_PROGRAM = "inference.py" })
    error_message = "Beside the program's name."
  }
}

run "container_may_start_slowly" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    startup_timeout_seconds        = 900
    model_download_timeout_seconds = 600
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.production_variants[0].container_startup_health_check_timeout_in_seconds == 900 && aws_sagemaker_endpoint_configuration.this.production_variants[0].model_data_download_timeout_in_seconds == 600
    error_message = "As asked."
  }
}

################################################################################
# Variants
################################################################################

run "variants_share_traffic_and_defaults" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    initial_instance_count = 2
    variants = {
      champion   = { weight = 9 }
      challenger = { model_s3_uri = "s3://other/candidates/model.tar.gz", instance_type = "ml.g5.xlarge", initial_instance_count = 1, environment = { A = "b" } }
    }
  }

  assert {
    condition     = { for one in aws_sagemaker_endpoint_configuration.this.production_variants : one.variant_name => [one.instance_type, one.initial_instance_count, one.initial_variant_weight] } == { champion = ["ml.m5.large", 2, 9], challenger = ["ml.g5.xlarge", 1, 1] }
    error_message = "What a variant leaves out comes from the module's variables."
  }

  assert {
    condition     = aws_sagemaker_model.this["champion"].primary_container[0].model_data_url == "s3://bucket/models/0123456789abcdef/model.tar.gz" && aws_sagemaker_model.this["challenger"].primary_container[0].model_data_url == "s3://other/candidates/model.tar.gz"
    error_message = "Each has its model."
  }

  assert {
    condition     = aws_sagemaker_model.this["challenger"].primary_container[0].environment["A"] == "b"
    error_message = "Each has its environment."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[0].Resource == ["arn:aws:s3:::other/candidates/*", "arn:aws:s3:::bucket/models/*"]
    error_message = "The role reads both models."
  }

  assert {
    condition     = length(data.aws_sagemaker_prebuilt_ecr_image.stock) == 2
    error_message = "One container for CPUs, one for GPUs."
  }
}

run "one_variant_can_have_another_name" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    variant_name = "blue"
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.production_variants[0].variant_name == "blue"
    error_message = "As asked."
  }
}

################################################################################
# Network and encryption
################################################################################

run "vpc_gives_the_role_network_interfaces_in_its_subnets" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    vpc = { subnet_ids = ["subnet-b", "subnet-a"], security_group_ids = ["sg-1"] }
  }

  assert {
    condition     = aws_sagemaker_model.this["AllTraffic"].vpc_config[0].subnets == toset(["subnet-a", "subnet-b"]) && aws_sagemaker_model.this["AllTraffic"].vpc_config[0].security_group_ids == toset(["sg-1"])
    error_message = "The model runs there."
  }

  assert {
    condition = [for one in jsondecode(aws_iam_role_policy.this.policy).Statement : one if can(regex("Network", one.Sid))] == [
      {
        Sid      = "CreateNetworkInterfaces"
        Effect   = "Allow"
        Action   = ["ec2:CreateNetworkInterface"]
        Resource = ["arn:aws:ec2:us-east-1:123456789012:subnet/subnet-a", "arn:aws:ec2:us-east-1:123456789012:subnet/subnet-b", "arn:aws:ec2:us-east-1:123456789012:security-group/sg-1", "arn:aws:ec2:us-east-1:123456789012:network-interface/*"]
      },
      {
        Sid       = "ManageNetworkInterfaces"
        Effect    = "Allow"
        Action    = ["ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface", "ec2:DeleteNetworkInterfacePermission"]
        Resource  = ["arn:aws:ec2:us-east-1:123456789012:network-interface/*"]
        Condition = { ArnEquals = { "ec2:Subnet" = ["arn:aws:ec2:us-east-1:123456789012:subnet/subnet-a", "arn:aws:ec2:us-east-1:123456789012:subnet/subnet-b"] } }
      },
      {
        Sid      = "LookAtNetwork"
        Effect   = "Allow"
        Action   = ["ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs"]
        Resource = ["*"]
      },
    ]
    error_message = "Interfaces in these subnets only."
  }
}

run "network_can_be_opened" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    network_isolation = false
  }

  assert {
    condition     = !aws_sagemaker_model.this["AllTraffic"].enable_network_isolation
    error_message = "As asked."
  }
}

run "key_encrypts_volumes_capture_and_logs" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    kms_key_arn  = "arn:aws:kms:us-east-1:123456789012:key/0f"
    data_capture = { destination_s3_uri = "s3://bucket/capture" }
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.kms_key_arn == "arn:aws:kms:us-east-1:123456789012:key/0f" && aws_sagemaker_endpoint_configuration.this.data_capture_config[0].kms_key_id == "arn:aws:kms:us-east-1:123456789012:key/0f" && aws_cloudwatch_log_group.this.kms_key_id == "arn:aws:kms:us-east-1:123456789012:key/0f"
    error_message = "The same key."
  }

  assert {
    condition = [for one in jsondecode(aws_iam_role_policy.this.policy).Statement : one if can(regex("Key", one.Sid))] == [
      {
        Sid      = "UseKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]
        Resource = ["arn:aws:kms:us-east-1:123456789012:key/0f"]
      },
      {
        Sid       = "LendKeyToVolumes"
        Effect    = "Allow"
        Action    = ["kms:CreateGrant"]
        Resource  = ["arn:aws:kms:us-east-1:123456789012:key/0f"]
        Condition = { Bool = { "kms:GrantIsForAWSResource" = "true" } }
      },
    ]
    error_message = "The role may use this key."
  }
}

run "key_by_alias_is_in_the_plan" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    kms_key_arn   = "arn:aws:kms:us-east-1:123456789012:key/0f"
    kms_key_alias = "alias/whippet-test"
  }

  assert {
    condition = [for one in jsondecode(aws_iam_role_policy.this.policy).Statement : [one.Resource, one.Condition] if can(regex("Key", one.Sid))] == [
      [["arn:aws:kms:us-east-1:123456789012:key/*"], { "ForAnyValue:StringEquals" = { "kms:ResourceAliases" = ["alias/whippet-test"] } }],
      [["arn:aws:kms:us-east-1:123456789012:key/*"], { "ForAnyValue:StringEquals" = { "kms:ResourceAliases" = ["alias/whippet-test"] }, Bool = { "kms:GrantIsForAWSResource" = "true" } }],
    ]
    error_message = "Any key with this alias, which is one."
  }
}

run "instances_with_own_disks_take_no_key" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    kms_key_arn   = "arn:aws:kms:us-east-1:123456789012:key/0f"
    instance_type = "ml.g4dn.xlarge"
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.kms_key_arn == null && aws_cloudwatch_log_group.this.kms_key_id == "arn:aws:kms:us-east-1:123456789012:key/0f"
    error_message = "Their hardware encrypts; the logs have the key all the same."
  }
}

run "asynchronous_answers_have_the_key" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    kms_key_arn  = "arn:aws:kms:us-east-1:123456789012:key/0f"
    asynchronous = { output_s3_uri = "s3://bucket/answers", input_s3_uris = ["s3://bucket/queue"] }
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.async_inference_config[0].output_config[0].kms_key_id == "arn:aws:kms:us-east-1:123456789012:key/0f"
    error_message = "The same key."
  }
}

run "role_can_be_bounded" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/boundary"
  }

  assert {
    condition     = aws_iam_role.this.permissions_boundary == "arn:aws:iam::123456789012:policy/boundary"
    error_message = "As asked."
  }
}

################################################################################
# Data capture
################################################################################

run "capture_keeps_questions_and_answers" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    data_capture = { destination_s3_uri = "s3://bucket/capture/whippet/", sampling_percentage = 20, csv_content_types = ["text/csv"] }
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.data_capture_config[0].enable_capture && aws_sagemaker_endpoint_configuration.this.data_capture_config[0].initial_sampling_percentage == 20
    error_message = "One call in five."
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.data_capture_config[0].capture_options[*].capture_mode == tolist(["Input", "Output"])
    error_message = "Both sides."
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.data_capture_config[0].capture_content_type_header[0].json_content_types == toset(["application/json"]) && aws_sagemaker_endpoint_configuration.this.data_capture_config[0].capture_content_type_header[0].csv_content_types == toset(["text/csv"])
    error_message = "Text stays text."
  }

  assert {
    condition     = [for one in jsondecode(aws_iam_role_policy.this.policy).Statement : one if one.Sid == "WriteAnswersAndCapture"][0].Resource == ["arn:aws:s3:::bucket/capture/whippet/*"]
    error_message = "The role may write there."
  }
}

run "capture_of_answers_alone" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    data_capture = { destination_s3_uri = "s3://bucket/capture", modes = ["Output"], json_content_types = [] }
  }

  assert {
    condition     = aws_sagemaker_endpoint_configuration.this.data_capture_config[0].capture_options[*].capture_mode == tolist(["Output"]) && length(aws_sagemaker_endpoint_configuration.this.data_capture_config[0].capture_content_type_header) == 0
    error_message = "Answers, all as base64."
  }
}

################################################################################
# Deployment
################################################################################

run "canary_is_watched_by_alarms" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    initial_instance_count = 2
    deployment             = { rollback_alarm_names = ["whippet-test-endpoint-5xx", "whippet-test-endpoint-latency"] }
  }

  assert {
    condition     = aws_sagemaker_endpoint.this.deployment_config[0].blue_green_update_policy[0].traffic_routing_configuration[0].type == "CANARY" && aws_sagemaker_endpoint.this.deployment_config[0].blue_green_update_policy[0].traffic_routing_configuration[0].wait_interval_in_seconds == 300
    error_message = "A first step, watched for five minutes."
  }

  assert {
    condition     = aws_sagemaker_endpoint.this.deployment_config[0].blue_green_update_policy[0].traffic_routing_configuration[0].canary_size[0].type == "CAPACITY_PERCENT" && aws_sagemaker_endpoint.this.deployment_config[0].blue_green_update_policy[0].traffic_routing_configuration[0].canary_size[0].value == 25
    error_message = "A quarter of the fleet."
  }

  assert {
    condition     = length(aws_sagemaker_endpoint.this.deployment_config[0].blue_green_update_policy[0].traffic_routing_configuration[0].linear_step_size) == 0 && length(aws_sagemaker_endpoint.this.deployment_config[0].rolling_update_policy) == 0
    error_message = "And nothing else."
  }

  assert {
    condition     = aws_sagemaker_endpoint.this.deployment_config[0].blue_green_update_policy[0].termination_wait_in_seconds == 120 && aws_sagemaker_endpoint.this.deployment_config[0].blue_green_update_policy[0].maximum_execution_timeout_in_seconds == 3000
    error_message = "The old fleet stays for two minutes; fifty minutes in all."
  }

  assert {
    condition     = aws_sagemaker_endpoint.this.deployment_config[0].auto_rollback_configuration[0].alarms[*].alarm_name == tolist(["whippet-test-endpoint-5xx", "whippet-test-endpoint-latency"]) || toset(aws_sagemaker_endpoint.this.deployment_config[0].auto_rollback_configuration[0].alarms[*].alarm_name) == toset(["whippet-test-endpoint-5xx", "whippet-test-endpoint-latency"])
    error_message = "Either alarm rolls back."
  }

  assert {
    condition = [for one in jsondecode(aws_iam_role_policy.this.policy).Statement : one if one.Sid == "WatchRollbackAlarms"] == [{
      Sid      = "WatchRollbackAlarms"
      Effect   = "Allow"
      Action   = ["cloudwatch:DescribeAlarms"]
      Resource = ["arn:aws:cloudwatch:us-east-1:123456789012:alarm:whippet-test-endpoint-5xx", "arn:aws:cloudwatch:us-east-1:123456789012:alarm:whippet-test-endpoint-latency"]
    }]
    error_message = "The role may look at these alarms."
  }
}

run "canary_without_alarms" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    deployment = {}
  }

  assert {
    condition     = length(aws_sagemaker_endpoint.this.deployment_config[0].auto_rollback_configuration) == 0 && length([for one in jsondecode(aws_iam_role_policy.this.policy).Statement : one if one.Sid == "WatchRollbackAlarms"]) == 0
    error_message = "Nothing to watch."
  }
}

run "linear_shifts_step_by_step" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    deployment = { strategy = "LINEAR", step = { value = 20 }, wait_seconds = 60 }
  }

  assert {
    condition     = aws_sagemaker_endpoint.this.deployment_config[0].blue_green_update_policy[0].traffic_routing_configuration[0].type == "LINEAR" && aws_sagemaker_endpoint.this.deployment_config[0].blue_green_update_policy[0].traffic_routing_configuration[0].linear_step_size[0].value == 20 && length(aws_sagemaker_endpoint.this.deployment_config[0].blue_green_update_policy[0].traffic_routing_configuration[0].canary_size) == 0
    error_message = "A fifth at a time."
  }
}

run "all_at_once_can_be_watched_too" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    deployment = { strategy = "ALL_AT_ONCE", rollback_alarm_names = ["a"] }
  }

  assert {
    condition     = aws_sagemaker_endpoint.this.deployment_config[0].blue_green_update_policy[0].traffic_routing_configuration[0].type == "ALL_AT_ONCE" && length(aws_sagemaker_endpoint.this.deployment_config[0].blue_green_update_policy[0].traffic_routing_configuration[0].canary_size) == 0 && length(aws_sagemaker_endpoint.this.deployment_config[0].auto_rollback_configuration) == 1
    error_message = "No step, but a way back."
  }
}

run "rolling_replaces_batches" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    initial_instance_count = 4
    deployment             = { strategy = "ROLLING", step = { type = "INSTANCE_COUNT", value = 1 } }
  }

  assert {
    condition     = aws_sagemaker_endpoint.this.deployment_config[0].rolling_update_policy[0].maximum_batch_size[0].type == "INSTANCE_COUNT" && aws_sagemaker_endpoint.this.deployment_config[0].rolling_update_policy[0].maximum_batch_size[0].value == 1
    error_message = "One instance at a time."
  }

  assert {
    condition     = aws_sagemaker_endpoint.this.deployment_config[0].rolling_update_policy[0].wait_interval_in_seconds == 300 && aws_sagemaker_endpoint.this.deployment_config[0].rolling_update_policy[0].maximum_execution_timeout_in_seconds == 3000 && length(aws_sagemaker_endpoint.this.deployment_config[0].blue_green_update_policy) == 0
    error_message = "No second fleet."
  }
}

################################################################################
# What is refused
################################################################################

# Each run gives several variables one wrong value each, and Terraform refuses every one of them.

run "names_and_arns_that_aws_does_not_take_are_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    name                     = "a123456789b123456789c123456789d123456"
    variant_name             = "all_traffic"
    kms_key_arn              = "0f"
    kms_key_alias            = "whippet"
    permissions_boundary_arn = "boundary"
    vpc                      = { subnet_ids = ["subnet-a"], security_group_ids = [] }
    variants                 = { all_traffic = {} }
  }

  expect_failures = [
    var.name,
    var.variant_name,
    var.kms_key_arn,
    var.kms_key_alias,
    var.permissions_boundary_arn,
    var.vpc,
    var.variants,
  ]
}

run "addresses_of_other_kinds_are_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    model_s3_uri      = "https://bucket.s3.amazonaws.com/model.tar.gz"
    model_objects_arn = "arn:aws:s3:::*/*"
    model_upload      = { bucket = "team-models", prefix = "models" }
    image             = "docker.io/library/python:3.12"
    data_capture      = { destination_s3_uri = "s3://bucket" }
    asynchronous      = { output_s3_uri = "https://bucket/answers", input_s3_uris = ["s3://bucket/queue"] }
    variants          = { a = { image = "python:3.12" } }
  }

  expect_failures = [
    var.model_s3_uri,
    var.model_objects_arn,
    var.model_upload,
    var.image,
    var.data_capture,
    var.asynchronous,
    var.variants,
  ]
}

run "numbers_out_of_range_are_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    initial_instance_count         = 0
    startup_timeout_seconds        = 10
    model_download_timeout_seconds = 10
    log_retention_days             = 31
    serverless                     = { memory_size_mb = 3000 }
    data_capture                   = { destination_s3_uri = "s3://bucket/capture", sampling_percentage = 0 }
    deployment                     = { wait_seconds = 3601 }
    variants                       = { a = { initial_instance_count = 0 } }
  }

  expect_failures = [
    var.initial_instance_count,
    var.startup_timeout_seconds,
    var.model_download_timeout_seconds,
    var.log_retention_days,
    var.serverless,
    var.data_capture,
    var.deployment,
    var.variants,
  ]
}

run "words_that_aws_does_not_know_are_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    real_time       = { routing_strategy = "NEAREST" }
    pytorch_version = "2.14.1"
    data_capture    = { destination_s3_uri = "s3://bucket/capture", modes = ["Headers"] }
    deployment      = { strategy = "SHADOW" }
    instance_type   = "m5.large"
  }

  expect_failures = [
    var.real_time,
    var.pytorch_version,
    var.data_capture,
    var.deployment,
    var.instance_type,
  ]
}

run "burstable_instances_are_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    instance_type = "ml.t2.medium"
    variants      = { a = { instance_type = "ml.t3.medium" } }
  }

  expect_failures = [
    var.instance_type,
    var.variants,
  ]
}

run "too_much_at_once_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    serverless = { max_concurrency = 201 }
    deployment = { rollback_alarm_names = [for number in range(11) : "alarm-${number}"] }
    variants   = { a = { weight = 0 }, b = { weight = 0 } }
  }

  expect_failures = [
    var.serverless,
    var.deployment,
    var.variants,
  ]
}

run "more_provisioned_than_max_concurrency_and_a_timeout_above_an_hour_are_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    serverless   = { max_concurrency = 2, provisioned_concurrency = 3 }
    deployment   = { timeout_seconds = 3601 }
    data_capture = { destination_s3_uri = "s3://bucket/capture", json_content_types = ["json"] }
  }

  expect_failures = [
    var.serverless,
    var.deployment,
    var.data_capture,
  ]
}

run "asynchronous_concurrency_above_1000_and_a_canary_above_half_are_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    asynchronous = { output_s3_uri = "s3://bucket/answers", input_s3_uris = ["s3://bucket/queue"], max_concurrent_invocations_per_instance = 1001 }
    deployment   = { step = { value = 51 } }
    variants     = { a = { model_s3_uri = "s3://bucket/a/model.tar.gz", model_ssm_parameter = "/a" } }
  }

  expect_failures = [
    var.asynchronous,
    var.deployment,
    var.variants,
  ]
}

run "asynchronous_topic_that_is_no_arn_and_steps_of_unknown_size_are_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    asynchronous = { output_s3_uri = "s3://bucket/answers", input_s3_uris = ["s3://bucket/queue"], error_topic_arn = "failures" }
    deployment   = { step = { type = "PERCENT", value = 10 } }
    variants     = { a = { model_s3_uri = "s3://bucket/a/model.pt" } }
  }

  expect_failures = [
    var.asynchronous,
    var.deployment,
    var.variants,
  ]
}

run "asynchronous_requests_of_a_whole_bucket_and_a_linear_step_below_a_tenth_are_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    asynchronous = { output_s3_uri = "s3://bucket/answers", input_s3_uris = ["s3://bucket/*"] }
    deployment   = { strategy = "LINEAR", step = { value = 9 } }
  }

  expect_failures = [
    var.asynchronous,
    var.deployment,
  ]
}

run "two_kinds_at_once_are_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    real_time  = {}
    serverless = {}
  }

  expect_failures = [var.real_time]
}

run "asynchronous_without_requests_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    asynchronous = { output_s3_uri = "s3://bucket/answers", input_s3_uris = [] }
  }

  expect_failures = [var.asynchronous]
}

run "two_sources_of_the_model_are_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    model_archive = "./tests/fixtures/model.tar.gz"
    model_upload  = { bucket = "team-models" }
  }

  expect_failures = [var.model_s3_uri]
}

run "archive_that_is_no_tar_gz_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    model_s3_uri  = null
    model_archive = "./tests/fixtures/lambda.zip"
    model_upload  = { bucket = "team-models" }
  }

  expect_failures = [var.model_archive]
}

run "ssm_parameter_by_arn_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    model_s3_uri        = null
    model_ssm_parameter = "arn:aws:ssm:us-east-1:123456789012:parameter/model"
  }

  expect_failures = [var.model_ssm_parameter]
}

run "no_model_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    model_s3_uri = null
  }

  expect_failures = [aws_sagemaker_model.this["AllTraffic"]]
}

run "archive_without_a_bucket_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    model_s3_uri  = null
    model_archive = "./tests/fixtures/model.tar.gz"
  }

  expect_failures = [aws_s3_object.model["./tests/fixtures/model.tar.gz"]]
}

run "archive_that_is_not_there_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    model_s3_uri  = null
    model_archive = "./tests/fixtures/none.tar.gz"
    model_upload  = { bucket = "team-models" }
  }

  expect_failures = [aws_s3_object.model["./tests/fixtures/none.tar.gz"]]
}

run "parameter_before_the_first_training_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    model_s3_uri        = null
    model_ssm_parameter = "/whippet/model-s3-uri"
  }

  override_data {
    target = data.aws_ssm_parameter.model
    values = { insecure_value = "none yet" }
  }

  expect_failures = [data.aws_ssm_parameter.model["/whippet/model-s3-uri"]]
}

run "stock_container_on_arm_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    instance_type = "ml.c7g.large"
  }

  expect_failures = [aws_sagemaker_model.this["AllTraffic"]]
}

run "stock_container_on_inferentia_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    instance_type = "ml.inf2.xlarge"
  }

  expect_failures = [aws_sagemaker_model.this["AllTraffic"]]
}

run "timeout_below_the_waits_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    deployment = { strategy = "LINEAR", step = { value = 10 }, wait_seconds = 600 }
  }

  expect_failures = [aws_sagemaker_endpoint.this]
}

run "canary_of_one_of_one_instances_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    deployment = { step = { type = "INSTANCE_COUNT", value = 1 } }
  }

  expect_failures = [aws_sagemaker_endpoint.this]
}

run "rolling_update_of_two_variants_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    variants   = { a = {}, b = {} }
    deployment = { strategy = "ROLLING" }
  }

  expect_failures = [aws_sagemaker_endpoint.this]
}

run "canary_on_inf1_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    image         = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/whippet:1"
    instance_type = "ml.inf1.xlarge"
    deployment    = {}
  }

  expect_failures = [aws_sagemaker_endpoint.this]
}

run "serverless_with_network_isolation_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    serverless        = {}
    network_isolation = true
  }

  expect_failures = [aws_sagemaker_endpoint_configuration.this]
}

run "serverless_with_data_capture_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    serverless   = {}
    data_capture = { destination_s3_uri = "s3://bucket/capture" }
  }

  expect_failures = [aws_sagemaker_endpoint_configuration.this]
}

run "serverless_with_two_variants_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    serverless = {}
    variants   = { a = {}, b = {} }
  }

  expect_failures = [aws_sagemaker_endpoint_configuration.this]
}

run "serverless_in_a_vpc_is_refused" {
  command = plan

  module {
    source = "./modules/endpoint"
  }

  variables {
    serverless = {}
    vpc        = { subnet_ids = ["subnet-a"], security_group_ids = ["sg-1"] }
  }

  expect_failures = [aws_sagemaker_endpoint_configuration.this]
}
