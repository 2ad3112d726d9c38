locals {
  image = coalesce(var.image, data.aws_sagemaker_prebuilt_ecr_image.stock.registry_path)

  # All that makes one SageMaker model differ from another: a model cannot be changed, and its successor must exist
  # beside it while the endpoint moves over, so the name holds a hash of these.
  container = {
    image       = local.image
    model       = var.model_s3_uri
    environment = merge({ SAGEMAKER_PROGRAM = "inference.py" }, var.environment)
    isolation   = var.network_isolation
  }
  model_name = "${var.name}-${substr(sha256(jsonencode(local.container)), 0, 12)}"
}

# Made here, not by SageMaker, so that it has a retention and goes with the endpoint.
resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/sagemaker/Endpoints/${var.name}"
  retention_in_days = var.log_retention_days
}

resource "aws_sagemaker_model" "this" {
  name                     = local.model_name
  execution_role_arn       = aws_iam_role.this.arn
  enable_network_isolation = local.container.isolation

  primary_container {
    image          = local.container.image
    model_data_url = local.container.model
    environment    = local.container.environment
  }

  # CreateModel checks that the role can read the archive.
  depends_on = [aws_iam_role_policy.this]

  lifecycle {
    create_before_destroy = true
  }
}

# A configuration cannot be changed either. A prefix and create_before_destroy make UpdateEndpoint name the new one and
# delete the old one afterwards: https://github.com/hashicorp/terraform-provider-aws/issues/21811
resource "aws_sagemaker_endpoint_configuration" "this" {
  name_prefix = "${var.name}-"

  production_variants {
    variant_name           = var.variant_name
    model_name             = aws_sagemaker_model.this.name
    instance_type          = var.instance_type
    initial_instance_count = var.initial_instance_count
    initial_variant_weight = 1
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_sagemaker_endpoint" "this" {
  name                 = var.name
  endpoint_config_name = aws_sagemaker_endpoint_configuration.this.name

  depends_on = [aws_cloudwatch_log_group.this]
}
