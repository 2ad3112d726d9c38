locals {
  # max without a value is min: a fixed number.
  provisioned = var.provisioned_concurrency == null ? null : merge(var.provisioned_concurrency, {
    max = coalesce(var.provisioned_concurrency.max, var.provisioned_concurrency.min)
  })
  is_autoscaled = try(local.provisioned.max > local.provisioned.min, false)
}

# The function's total is the ceiling; these environments of the alias are started ahead of their calls.
resource "aws_lambda_provisioned_concurrency_config" "this" {
  count = local.provisioned != null && !local.is_autoscaled ? 1 : 0

  function_name                     = aws_lambda_alias.this.function_name
  qualifier                         = aws_lambda_alias.this.name
  provisioned_concurrent_executions = local.provisioned.min
}

# The same, but Application Auto Scaling has the last word on how many, so that an apply does not undo it. Two resources,
# because ignore_changes cannot depend on a variable: https://github.com/hashicorp/terraform/issues/24188
resource "aws_lambda_provisioned_concurrency_config" "autoscaled" {
  count = local.is_autoscaled ? 1 : 0

  function_name                     = aws_lambda_alias.this.function_name
  qualifier                         = aws_lambda_alias.this.name
  provisioned_concurrent_executions = local.provisioned.min

  lifecycle {
    ignore_changes = [provisioned_concurrent_executions]
  }
}

# https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html#managing-provisioned-concurency
resource "aws_appautoscaling_target" "this" {
  count = local.is_autoscaled ? 1 : 0

  service_namespace  = "lambda"
  scalable_dimension = "lambda:function:ProvisionedConcurrency"
  resource_id        = "function:${aws_lambda_alias.this.function_name}:${aws_lambda_alias.this.name}"
  min_capacity       = local.provisioned.min
  max_capacity       = local.provisioned.max

  depends_on = [aws_lambda_provisioned_concurrency_config.autoscaled]
}

resource "aws_appautoscaling_policy" "this" {
  count = local.is_autoscaled ? 1 : 0

  name               = "${var.function_name}-provisioned-concurrency"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this[0].service_namespace
  scalable_dimension = aws_appautoscaling_target.this[0].scalable_dimension
  resource_id        = aws_appautoscaling_target.this[0].resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = local.provisioned.target_utilization
    scale_in_cooldown  = local.provisioned.scale_in_cooldown
    scale_out_cooldown = local.provisioned.scale_out_cooldown

    predefined_metric_specification {
      predefined_metric_type = "LambdaProvisionedConcurrencyUtilization"
    }
  }
}
