# Notebooks, models, endpoints, their registry, scaling and roll-back alarms.
variable "changed" {
  type = bool
}

data "aws_caller_identity" "this" {}

resource "aws_s3_bucket" "this" {
  bucket        = "matrix-hosting-models"
  force_destroy = true
}

resource "aws_s3_object" "model" {
  bucket  = aws_s3_bucket.this.bucket
  key     = "model.tar.gz"
  content = "good"
}

resource "aws_iam_role" "this" {
  name = "matrix-hosting"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "sagemaker.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = ["s3:*", "logs:*", "cloudwatch:DescribeAlarms"], Resource = "*" }]
  })
}

resource "aws_vpc" "this" {
  cidr_block = "10.0.0.0/16"
}

resource "aws_subnet" "this" {
  vpc_id     = aws_vpc.this.id
  cidr_block = "10.0.0.0/24"
}

resource "aws_security_group" "this" {
  name   = "matrix-hosting"
  vpc_id = aws_vpc.this.id
}

resource "aws_kms_key" "this" {}

resource "aws_sns_topic" "this" {
  name = "matrix-hosting"
}

resource "aws_sagemaker_notebook_instance_lifecycle_configuration" "this" {
  name      = "matrix-hosting"
  on_create = base64encode(var.changed ? "echo second" : "echo first")
  on_start  = base64encode(var.changed ? "echo stop when idle" : "echo start")
}

resource "aws_sagemaker_notebook_instance" "this" {
  name                         = "matrix-hosting"
  role_arn                     = aws_iam_role.this.arn
  instance_type                = var.changed ? "ml.t3.large" : "ml.t3.medium"
  volume_size                  = var.changed ? 20 : 10
  platform_identifier          = "notebook-al2-v3"
  root_access                  = var.changed ? "Disabled" : "Enabled"
  direct_internet_access       = "Disabled"
  subnet_id                    = aws_subnet.this.id
  security_groups              = [aws_security_group.this.id]
  kms_key_id                   = aws_kms_key.this.arn
  lifecycle_config_name        = aws_sagemaker_notebook_instance_lifecycle_configuration.this.name
  default_code_repository      = var.changed ? "https://github.com/org/b.git" : "https://github.com/org/a.git"
  additional_code_repositories = var.changed ? ["https://github.com/org/c.git"] : []

  instance_metadata_service_configuration {
    minimum_instance_metadata_service_version = var.changed ? "2" : "1"
  }
}

resource "aws_sagemaker_notebook_instance" "plain" {
  name          = "matrix-hosting-plain"
  role_arn      = aws_iam_role.this.arn
  instance_type = "ml.t3.medium"
}

locals {
  # A model cannot be changed, nor can a configuration: a change makes a successor, and the endpoint moves to it.
  image = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6.0-cpu-py312-ubuntu22.04-sagemaker"
}

resource "aws_sagemaker_model" "this" {
  name                     = "matrix-hosting"
  execution_role_arn       = aws_iam_role.this.arn
  enable_network_isolation = true

  primary_container {
    image          = local.image
    mode           = "SingleModel"
    model_data_url = "s3://${aws_s3_bucket.this.bucket}/${aws_s3_object.model.key}"
    environment    = { SAGEMAKER_PROGRAM = "inference.py" }
  }

  vpc_config {
    subnets            = [aws_subnet.this.id]
    security_group_ids = [aws_security_group.this.id]
  }

  depends_on = [aws_iam_role_policy.this]
}

resource "aws_sagemaker_model" "source" {
  name               = "matrix-hosting-source"
  execution_role_arn = aws_iam_role.this.arn

  primary_container {
    image              = local.image
    container_hostname = "first"

    model_data_source {
      s3_data_source {
        s3_uri           = "s3://${aws_s3_bucket.this.bucket}/unpacked/"
        s3_data_type     = "S3Prefix"
        compression_type = "None"
      }
    }
  }
}

resource "aws_sagemaker_model" "pipeline" {
  name               = "matrix-hosting-pipeline"
  execution_role_arn = aws_iam_role.this.arn

  container {
    image              = local.image
    container_hostname = "first"
    model_data_url     = "s3://${aws_s3_bucket.this.bucket}/${aws_s3_object.model.key}"
  }

  container {
    image              = local.image
    container_hostname = "second"
  }

  inference_execution_config {
    mode = "Serial"
  }
}

resource "aws_sagemaker_endpoint_configuration" "this" {
  name_prefix = "matrix-hosting-"
  kms_key_arn = aws_kms_key.this.arn

  production_variants {
    variant_name                                      = "main"
    model_name                                        = aws_sagemaker_model.this.name
    instance_type                                     = "ml.c6i.large"
    initial_instance_count                            = 1
    initial_variant_weight                            = var.changed ? 2 : 3
    container_startup_health_check_timeout_in_seconds = 120
    model_data_download_timeout_in_seconds            = 120
    enable_ssm_access                                 = false
  }

  production_variants {
    variant_name           = "challenger"
    model_name             = aws_sagemaker_model.this.name
    instance_type          = "ml.m5.large"
    initial_instance_count = 1
    initial_variant_weight = var.changed ? 2 : 1
  }

  data_capture_config {
    enable_capture              = true
    initial_sampling_percentage = var.changed ? 50 : 10
    destination_s3_uri          = "s3://${aws_s3_bucket.this.bucket}/capture"
    kms_key_id                  = aws_kms_key.this.arn

    capture_options {
      capture_mode = "Input"
    }

    capture_options {
      capture_mode = "Output"
    }

    capture_content_type_header {
      csv_content_types  = ["text/csv"]
      json_content_types = ["application/json"]
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_sagemaker_endpoint_configuration" "serverless" {
  name = "matrix-hosting-serverless"

  production_variants {
    variant_name = "main"
    model_name   = aws_sagemaker_model.source.name

    serverless_config {
      max_concurrency         = 5
      memory_size_in_mb       = 2048
      provisioned_concurrency = 1
    }
  }
}

resource "aws_sagemaker_endpoint_configuration" "async" {
  name = "matrix-hosting-async"

  production_variants {
    variant_name           = "main"
    model_name             = aws_sagemaker_model.this.name
    instance_type          = "ml.c6i.large"
    initial_instance_count = 1
  }

  async_inference_config {
    client_config {
      max_concurrent_invocations_per_instance = 4
    }

    output_config {
      s3_output_path  = "s3://${aws_s3_bucket.this.bucket}/answers"
      s3_failure_path = "s3://${aws_s3_bucket.this.bucket}/failures"
      kms_key_id      = aws_kms_key.this.arn

      notification_config {
        error_topic                   = aws_sns_topic.this.arn
        success_topic                 = aws_sns_topic.this.arn
        include_inference_response_in = ["ERROR_NOTIFICATION_TOPIC"]
      }
    }
  }
}

resource "aws_sagemaker_endpoint_configuration" "shadow" {
  name = "matrix-hosting-shadow"

  production_variants {
    variant_name           = "main"
    model_name             = aws_sagemaker_model.this.name
    instance_type          = "ml.c6i.large"
    initial_instance_count = 1
    initial_variant_weight = 1

    managed_instance_scaling {
      status             = "ENABLED"
      min_instance_count = 1
      max_instance_count = 2
    }

    routing_config {
      routing_strategy = "LEAST_OUTSTANDING_REQUESTS"
    }

    core_dump_config {
      destination_s3_uri = "s3://${aws_s3_bucket.this.bucket}/dumps"
      kms_key_id         = aws_kms_key.this.arn
    }
  }

  shadow_production_variants {
    variant_name           = "shadow"
    model_name             = aws_sagemaker_model.this.name
    instance_type          = "ml.c6i.large"
    initial_instance_count = 1
    initial_variant_weight = 0.5
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  alarm_name          = "matrix-hosting-5xx"
  namespace           = "AWS/SageMaker"
  metric_name         = "Invocation5XXErrors"
  dimensions          = { EndpointName = "matrix-hosting", VariantName = "main" }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
}

resource "aws_sagemaker_endpoint" "this" {
  name                 = "matrix-hosting"
  endpoint_config_name = aws_sagemaker_endpoint_configuration.this.name

  deployment_config {
    blue_green_update_policy {
      termination_wait_in_seconds          = 0
      maximum_execution_timeout_in_seconds = var.changed ? 900 : 600

      traffic_routing_configuration {
        type                     = "CANARY"
        wait_interval_in_seconds = var.changed ? 1 : 0

        canary_size {
          type  = "CAPACITY_PERCENT"
          value = var.changed ? 40 : 50
        }
      }
    }

    auto_rollback_configuration {
      alarms {
        alarm_name = aws_cloudwatch_metric_alarm.this.alarm_name
      }
    }
  }
}

resource "aws_sagemaker_endpoint" "rolling" {
  name                 = "matrix-hosting-rolling"
  endpoint_config_name = var.changed ? aws_sagemaker_endpoint_configuration.shadow.name : aws_sagemaker_endpoint_configuration.async.name

  deployment_config {
    rolling_update_policy {
      wait_interval_in_seconds             = 1
      maximum_execution_timeout_in_seconds = 600

      maximum_batch_size {
        type  = "CAPACITY_PERCENT"
        value = 50
      }
    }
  }
}

resource "aws_sagemaker_model_package_group" "this" {
  model_package_group_name        = "matrix-hosting"
  model_package_group_description = "Breeds"
}

resource "aws_sagemaker_model_package_group_policy" "this" {
  model_package_group_name = aws_sagemaker_model_package_group.this.model_package_group_name
  resource_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Share"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.this.account_id}:root" }
      Action    = var.changed ? ["sagemaker:DescribeModelPackage", "sagemaker:ListModelPackages"] : ["sagemaker:DescribeModelPackage"]
      Resource  = "arn:aws:sagemaker:us-east-1:${data.aws_caller_identity.this.account_id}:model-package/matrix-hosting/*"
    }]
  })
}

resource "aws_appautoscaling_target" "this" {
  service_namespace  = "sagemaker"
  scalable_dimension = "sagemaker:variant:DesiredInstanceCount"
  resource_id        = "endpoint/${aws_sagemaker_endpoint.this.name}/variant/main"
  min_capacity       = 1
  max_capacity       = var.changed ? 5 : 3

  suspended_state {
    dynamic_scaling_in_suspended  = var.changed
    dynamic_scaling_out_suspended = false
    scheduled_scaling_suspended   = false
  }
}

resource "aws_appautoscaling_policy" "concurrency" {
  name               = "concurrency"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  resource_id        = aws_appautoscaling_target.this.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = var.changed ? 2 : 1
    scale_in_cooldown  = var.changed ? 60 : 30
    scale_out_cooldown = var.changed ? 60 : 30
    disable_scale_in   = var.changed

    predefined_metric_specification {
      predefined_metric_type = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    }
  }
}

resource "aws_appautoscaling_policy" "custom" {
  name               = "latency"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  resource_id        = aws_appautoscaling_target.this.resource_id

  target_tracking_scaling_policy_configuration {
    target_value = var.changed ? 60 : 70

    customized_metric_specification {
      metric_name = "CPUUtilization"
      namespace   = "/aws/sagemaker/Endpoints"
      statistic   = "Average"
      unit        = "Percent"

      dimensions {
        name  = "EndpointName"
        value = aws_sagemaker_endpoint.this.name
      }

      dimensions {
        name  = "VariantName"
        value = "main"
      }
    }
  }
}

resource "aws_appautoscaling_policy" "step" {
  name               = "step"
  policy_type        = "StepScaling"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  resource_id        = aws_appautoscaling_target.this.resource_id

  step_scaling_policy_configuration {
    adjustment_type         = "ChangeInCapacity"
    cooldown                = var.changed ? 120 : 60
    metric_aggregation_type = "Maximum"

    step_adjustment {
      metric_interval_lower_bound = 0
      scaling_adjustment          = var.changed ? 2 : 1
    }
  }
}

resource "aws_appautoscaling_scheduled_action" "morning" {
  name               = "morning"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  resource_id        = aws_appautoscaling_target.this.resource_id
  schedule           = var.changed ? "cron(0 7 * * ? *)" : "cron(0 8 * * ? *)"
  timezone           = var.changed ? "Europe/Berlin" : "UTC"

  scalable_target_action {
    min_capacity = var.changed ? 2 : 1
    max_capacity = 3
  }
}
