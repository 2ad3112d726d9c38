data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  is_serverless   = var.serverless != null
  is_asynchronous = var.asynchronous != null
  is_real_time    = !local.is_serverless && !local.is_asynchronous
  is_isolated     = var.network_isolation == null ? !local.is_serverless : var.network_isolation

  # One variant that is all defaults, unless variants are given; then whatever one of them leaves out.
  variant_names = length(var.variants) == 0 ? [var.variant_name] : keys(var.variants)
  has_own_model = {
    for name in local.variant_names : name => try(
      anytrue([for source in ["model_s3_uri", "model_archive", "model_ssm_parameter"] : var.variants[name][source] != null]), false
    )
  }
  variants = {
    for name in local.variant_names : name => {
      weight                 = try(var.variants[name].weight, 1)
      model_s3_uri           = local.has_own_model[name] ? try(var.variants[name].model_s3_uri, null) : var.model_s3_uri
      model_archive          = local.has_own_model[name] ? try(var.variants[name].model_archive, null) : var.model_archive
      model_ssm_parameter    = local.has_own_model[name] ? try(var.variants[name].model_ssm_parameter, null) : var.model_ssm_parameter
      image                  = try(coalesce(var.variants[name].image), var.image)
      environment            = try(coalesce(var.variants[name].environment), var.environment)
      instance_type          = local.is_serverless ? null : try(coalesce(var.variants[name].instance_type), var.instance_type)
      initial_instance_count = local.is_serverless ? null : try(coalesce(var.variants[name].initial_instance_count), var.initial_instance_count)
    }
  }

  # All that makes one SageMaker model differ from another: a model cannot be changed, and its successor must exist
  # beside it while the endpoint moves over, so the name holds a hash of these.
  containers = {
    for name, variant in local.variants : name => {
      image       = local.images[name]
      model       = local.model_s3_uris[name]
      environment = merge({ SAGEMAKER_PROGRAM = "inference.py" }, variant.environment)
      isolation   = local.is_isolated
      vpc         = var.vpc
      variant     = name
    }
  }
  model_names = { for name, container in local.containers : name => "${var.name}-${substr(sha256(jsonencode(container)), 0, 12)}" }

  # Instances with disks of their own encrypt them in hardware, and SageMaker refuses a key for a configuration that has
  # any such: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEndpointConfig.html
  has_local_disk = anytrue([
    for variant in values(local.variants) : variant.instance_type != null && can(regex("^ml\\.([a-z]+\\d+[a-z]*d[a-z]*|g5|g6e?|p4de|p5e?n?)\\.", variant.instance_type))
  ])
}

# Made here, not by SageMaker, so that it has a retention and goes with the endpoint.
resource "aws_cloudwatch_log_group" "this" {
  # checkov:skip=CKV_AWS_158:CloudWatch Logs encrypts with a key of AWS's own unless kms_key_arn gives one
  # checkov:skip=CKV_AWS_338:how long logs are kept is the caller's choice; prod keeps them a year
  name              = local.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_sagemaker_model" "this" {
  # checkov:skip=CKV_AWS_370:isolated unless the caller opens it, or the endpoint is serverless, which has no isolation
  for_each = local.containers

  name                     = local.model_names[each.key]
  execution_role_arn       = aws_iam_role.this.arn
  enable_network_isolation = each.value.isolation

  primary_container {
    image          = each.value.image
    model_data_url = each.value.model
    environment    = each.value.environment
  }

  dynamic "vpc_config" {
    for_each = each.value.vpc[*]

    content {
      subnets            = vpc_config.value.subnet_ids
      security_group_ids = vpc_config.value.security_group_ids
    }
  }

  # CreateModel checks that the role can read the archive.
  depends_on = [aws_iam_role_policy.this, aws_s3_object.model]

  lifecycle {
    create_before_destroy = true

    precondition {
      condition     = each.value.model != null
      error_message = "Variant ${each.key} has no model: give model_s3_uri, model_archive or model_ssm_parameter."
    }

    precondition {
      condition     = each.value.image != null
      error_message = "Variant ${each.key} runs on ${coalesce(local.variants[each.key].instance_type, "no instance")}, for which the stock PyTorch containers for x86 CPUs and NVIDIA GPUs are not made: give image."
    }
  }
}

# A configuration cannot be changed either. A prefix and create_before_destroy make UpdateEndpoint name the new one and
# delete the old one afterwards: https://github.com/hashicorp/terraform-provider-aws/issues/21811
resource "aws_sagemaker_endpoint_configuration" "this" {
  # checkov:skip=CKV_AWS_98:SageMaker encrypts volumes with a key of AWS's own unless kms_key_arn gives one
  name_prefix = "${var.name}-"
  kms_key_arn = local.has_local_disk ? null : var.kms_key_arn

  dynamic "production_variants" {
    for_each = local.variants

    content {
      variant_name           = production_variants.key
      model_name             = aws_sagemaker_model.this[production_variants.key].name
      instance_type          = production_variants.value.instance_type
      initial_instance_count = production_variants.value.initial_instance_count
      initial_variant_weight = production_variants.value.weight

      container_startup_health_check_timeout_in_seconds = local.is_serverless ? null : var.startup_timeout_seconds
      model_data_download_timeout_in_seconds            = local.is_serverless ? null : var.model_download_timeout_seconds

      dynamic "routing_config" {
        for_each = local.is_real_time ? [try(coalesce(var.real_time.routing_strategy), "LEAST_OUTSTANDING_REQUESTS")] : []

        content {
          routing_strategy = routing_config.value
        }
      }

      dynamic "serverless_config" {
        for_each = var.serverless[*]

        content {
          memory_size_in_mb       = serverless_config.value.memory_size_mb
          max_concurrency         = serverless_config.value.max_concurrency
          provisioned_concurrency = serverless_config.value.provisioned_concurrency
        }
      }
    }
  }

  dynamic "async_inference_config" {
    for_each = var.asynchronous[*]

    content {
      dynamic "client_config" {
        for_each = async_inference_config.value.max_concurrent_invocations_per_instance[*]

        content {
          max_concurrent_invocations_per_instance = client_config.value
        }
      }

      output_config {
        s3_output_path  = async_inference_config.value.output_s3_uri
        s3_failure_path = async_inference_config.value.failure_s3_uri
        kms_key_id      = var.kms_key_arn

        dynamic "notification_config" {
          for_each = length(local.topic_arns) == 0 ? [] : [async_inference_config.value]

          content {
            success_topic = notification_config.value.success_topic_arn
            error_topic   = notification_config.value.error_topic_arn
          }
        }
      }
    }
  }

  dynamic "data_capture_config" {
    for_each = var.data_capture[*]

    content {
      enable_capture              = true
      destination_s3_uri          = data_capture_config.value.destination_s3_uri
      initial_sampling_percentage = data_capture_config.value.sampling_percentage
      kms_key_id                  = var.kms_key_arn

      dynamic "capture_options" {
        for_each = sort(distinct(data_capture_config.value.modes))

        content {
          capture_mode = capture_options.value
        }
      }

      dynamic "capture_content_type_header" {
        for_each = length(data_capture_config.value.json_content_types) + length(data_capture_config.value.csv_content_types) == 0 ? [] : [data_capture_config.value]

        content {
          json_content_types = length(capture_content_type_header.value.json_content_types) == 0 ? null : capture_content_type_header.value.json_content_types
          csv_content_types  = length(capture_content_type_header.value.csv_content_types) == 0 ? null : capture_content_type_header.value.csv_content_types
        }
      }
    }
  }

  lifecycle {
    create_before_destroy = true

    precondition {
      # https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html
      condition     = !local.is_serverless || (length(local.variants) == 1 && !local.is_isolated && var.vpc == null && var.data_capture == null)
      error_message = "A serverless endpoint has one variant, no VPC, no network isolation and no data capture: leave variants, vpc, network_isolation and data_capture out."
    }
  }
}
