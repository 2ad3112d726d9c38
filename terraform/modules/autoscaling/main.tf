locals {
  concurrency = "SageMakerVariantConcurrentRequestsPerModelHighResolution"

  # One request at a time is what one model process serves without queueing, so a second one is reason to grow.
  # Invocations per minute have no such natural figure: the target comes from a load test.
  target_value = var.target_value == null ? 1 : var.target_value

  # Whether all instances can ever be busy: what they take together at the target, and what the only caller sends.
  largest_capacity = max(concat([var.max_capacity], [for action in values(var.scheduled_actions) : try(coalesce(action.max_capacity), var.max_capacity)])...)
  needed           = local.target_value * local.largest_capacity
  most_concurrency = var.caller_concurrency
  most_invocations = try(var.caller_concurrency * 60 / var.caller_request_seconds, null)
}

# AWS refuses to change the instance type of a variant that is registered:
# https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html
# What depends on the endpoint is destroyed before the endpoint is updated and made anew afterwards, in that order.
resource "terraform_data" "instance_type" {
  input = var.instance_type
}

resource "aws_appautoscaling_target" "this" {
  service_namespace  = "sagemaker"
  scalable_dimension = "sagemaker:variant:DesiredInstanceCount"
  resource_id        = "endpoint/${var.endpoint_name}/variant/${var.variant_name}"
  min_capacity       = var.min_capacity
  max_capacity       = var.max_capacity

  lifecycle {
    replace_triggered_by = [terraform_data.instance_type]
  }
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
    disable_scale_in   = !var.enable_scale_in

    predefined_metric_specification {
      predefined_metric_type = var.metric
    }
  }

  lifecycle {
    # A target takes its policies and schedules along when it goes.
    replace_triggered_by = [terraform_data.instance_type]

    precondition {
      condition     = var.metric != local.concurrency || local.most_concurrency == null || try(local.needed <= local.most_concurrency, true)
      error_message = "${local.largest_capacity} instances can never be reached: at a target of ${local.target_value} concurrent requests each they need ${local.needed} at once, and the only caller sends at most ${coalesce(local.most_concurrency, 0)}. Lower the target or max_capacity, or raise the Lambda's reserved concurrency."
    }

    precondition {
      condition     = var.metric == local.concurrency || local.most_invocations == null || try(local.needed <= local.most_invocations, true)
      error_message = "${local.largest_capacity} instances can never be reached: at a target of ${local.target_value} invocations per minute each they need ${local.needed}, and the only caller sends at most ${coalesce(local.most_invocations, 0)}. Lower the target or max_capacity, or raise the Lambda's reserved concurrency."
    }
  }
}

resource "aws_appautoscaling_scheduled_action" "this" {
  for_each = var.scheduled_actions

  name               = "${var.endpoint_name}-${each.key}"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  resource_id        = aws_appautoscaling_target.this.resource_id
  schedule           = each.value.schedule
  timezone           = each.value.timezone
  start_time         = each.value.start_time
  end_time           = each.value.end_time

  scalable_target_action {
    min_capacity = each.value.min_capacity
    max_capacity = each.value.max_capacity
  }

  lifecycle {
    replace_triggered_by = [terraform_data.instance_type]
  }
}
