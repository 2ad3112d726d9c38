locals {
  concurrency = "SageMakerVariantConcurrentRequestsPerModelHighResolution"

  # One request at a time is what one model process serves without queueing, so a second one is reason to grow.
  # Invocations per minute have no such natural figure: the target comes from a load test.
  target_value = var.target_value == null ? 1 : var.target_value
}

resource "aws_appautoscaling_target" "this" {
  service_namespace  = "sagemaker"
  scalable_dimension = "sagemaker:variant:DesiredInstanceCount"
  resource_id        = "endpoint/${var.endpoint_name}/variant/${var.variant_name}"
  min_capacity       = var.min_capacity
  max_capacity       = var.max_capacity
}

# Cooldowns only space out the scaling actions. With the one-minute metric it is the alarms that decide the pace: three
# data points to scale out, fifteen to scale in. The high-resolution metric comes every ten seconds, hence the default:
# https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling-policy.html
resource "aws_appautoscaling_policy" "this" {
  name               = "${var.endpoint_name}-target-tracking"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  resource_id        = aws_appautoscaling_target.this.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = local.target_value
    scale_in_cooldown  = var.scale_in_cooldown
    scale_out_cooldown = var.scale_out_cooldown

    predefined_metric_specification {
      predefined_metric_type = var.metric
    }
  }

  lifecycle {
    precondition {
      condition     = var.metric != local.concurrency || var.caller_concurrency == null || local.target_value * var.max_capacity <= coalesce(var.caller_concurrency, 0)
      error_message = "${var.max_capacity} instances can never be reached: at a target of ${local.target_value} concurrent requests each they need ${local.target_value * var.max_capacity} at once, and the only caller sends at most ${coalesce(var.caller_concurrency, 0)}. Lower the target or max_capacity, or raise the Lambda's reserved concurrency."
    }
  }
}
