locals {
  function = { FunctionName = var.function_name }
  variant  = { EndpointName = var.endpoint_name, VariantName = var.variant_name }

  # Each counts failures over five minutes; silence is no failure.
  alarms = {
    lambda-errors = {
      description = "The Lambda failed: a crash or a timeout, not an answer with an error status."
      namespace   = "AWS/Lambda"
      metric      = "Errors"
      dimensions  = local.function
    }
    lambda-throttles = {
      description = "Callers got 429: more calls at once than the reserved concurrency."
      namespace   = "AWS/Lambda"
      metric      = "Throttles"
      dimensions  = local.function
    }
    endpoint-5xx = {
      description = "The endpoint's containers answered with 5xx."
      namespace   = "AWS/SageMaker"
      metric      = "Invocation5XXErrors"
      dimensions  = local.variant
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.threshold
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
}
