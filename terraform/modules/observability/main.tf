data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.id

  function = { FunctionName = coalesce(var.function_name, "-") }
  variant  = { EndpointName = coalesce(var.endpoint_name, "-"), VariantName = var.variant_name }

  has_function  = var.function_name != null
  has_endpoint  = var.endpoint_name != null
  has_instances = local.has_endpoint && var.endpoint_has_instances

  # What each alarm watches; when it rings is the caller's (var.alarms). Without a datapoint there was no call, and so no
  # failure: only the alarm on missing instances takes silence as a sign.
  # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
  # https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
  metrics = {
    lambda_errors = {
      watched     = local.has_function
      description = "The Lambda failed: a crash or a timeout, not an answer with an error status."
      namespace   = "AWS/Lambda"
      metric      = "Errors"
      statistic   = "Sum"
      dimensions  = local.function
      operator    = "GreaterThanThreshold"
      threshold   = var.alarms.lambda_errors.threshold
    }
    lambda_throttles = {
      watched     = local.has_function
      description = "Callers got 429: more calls at once than the reserved concurrency."
      namespace   = "AWS/Lambda"
      metric      = "Throttles"
      statistic   = "Sum"
      dimensions  = local.function
      operator    = "GreaterThanThreshold"
      threshold   = var.alarms.lambda_throttles.threshold
    }
    lambda_duration = {
      watched     = local.has_function
      description = "A call took ${var.alarms.lambda_duration.threshold} % of the Lambda's timeout of ${var.function_timeout} s: the next ones may be cut off."
      namespace   = "AWS/Lambda"
      metric      = "Duration"
      statistic   = "Maximum"
      dimensions  = local.function
      operator    = "GreaterThanOrEqualToThreshold"
      threshold   = var.function_timeout * 1000 * var.alarms.lambda_duration.threshold / 100
    }
    endpoint_5xx = {
      watched     = local.has_endpoint
      description = "The endpoint's containers answered with 5xx."
      namespace   = "AWS/SageMaker"
      metric      = "Invocation5XXErrors"
      statistic   = "Sum"
      dimensions  = local.variant
      operator    = "GreaterThanThreshold"
      threshold   = var.alarms.endpoint_5xx.threshold
    }
    endpoint_latency = {
      watched     = local.has_endpoint
      description = "One call in a hundred takes the model more than ${var.alarms.endpoint_latency.threshold} ms (p99)."
      namespace   = "AWS/SageMaker"
      metric      = "ModelLatency"
      statistic   = "p99"
      dimensions  = local.variant
      operator    = "GreaterThanThreshold"
      threshold   = var.alarms.endpoint_latency.threshold * 1000 # the metric is in microseconds
    }
    endpoint_cpu = {
      watched     = local.has_instances
      description = "The endpoint's instances are ${var.alarms.endpoint_cpu.threshold} % busy on average: scaling does not keep up, or is at its maximum."
      namespace   = "/aws/sagemaker/Endpoints"
      metric      = "CPUUtilization"
      statistic   = "Average"
      dimensions  = local.variant
      operator    = "GreaterThanThreshold"
      threshold   = var.alarms.endpoint_cpu.threshold * var.endpoint_vcpus # the metric adds up the processors
    }
    # SageMaker has no metric of healthy instances. Each one that serves tells its CPU utilization every minute, so when
    # nobody does there is none. Until a new endpoint has its first instance this alarm rings too, rightly.
    endpoint_no_instance = {
      watched     = local.has_instances
      description = "No instance of the endpoint has told of itself: none is healthy, or the endpoint is gone."
      namespace   = "/aws/sagemaker/Endpoints"
      metric      = "CPUUtilization"
      statistic   = "SampleCount"
      dimensions  = local.variant
      operator    = "LessThanThreshold"
      threshold   = 1
    }
  }

  names   = { for key in concat(keys(local.metrics), ["endpoint_at_maximum"]) : key => "${var.name}-${replace(key, "_", "-")}" }
  watched = { for key, metric in local.metrics : key => metric if metric.watched && var.alarms[key].enabled }

  watches_maximum = local.has_instances && var.endpoint_max_instances != null && var.alarms.endpoint_at_maximum.enabled
  alarms          = concat(keys(local.watched), local.watches_maximum ? ["endpoint_at_maximum"] : [])
  actions         = concat(var.alarm_actions, local.topic_arns)
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.watched

  alarm_name          = local.names[each.key]
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  comparison_operator = each.value.operator
  threshold           = each.value.threshold
  period              = var.alarms[each.key].period_seconds
  evaluation_periods  = var.alarms[each.key].periods
  treat_missing_data  = each.key == "endpoint_no_instance" ? "breaching" : "notBreaching"
  alarm_actions       = local.actions
  ok_actions          = local.actions

  depends_on = [aws_sns_topic_policy.this]
}

# No metric tells how many instances there are. But every call adds 1 to Invocations and 1/instances to
# InvocationsPerInstance, so that their sums tell it, while there are calls; without calls nothing needs to scale.
# https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
resource "aws_cloudwatch_metric_alarm" "at_maximum" {
  count = local.watches_maximum ? 1 : 0

  alarm_name          = local.names.endpoint_at_maximum
  alarm_description   = "The endpoint has had its most instances, ${var.endpoint_max_instances}, for a while: more load finds no more of them."
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = var.endpoint_max_instances - 0.5 # a quotient of sums of fractions is not a whole number
  evaluation_periods  = var.alarms.endpoint_at_maximum.periods
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.actions
  ok_actions          = local.actions

  metric_query {
    id          = "instances"
    label       = "Instances"
    expression  = "invocations / per_instance"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { invocations = "Invocations", per_instance = "InvocationsPerInstance" }

    content {
      id          = metric_query.key
      return_data = false

      metric {
        namespace   = "AWS/SageMaker"
        metric_name = metric_query.value
        dimensions  = local.variant
        stat        = "Sum"
        period      = var.alarms.endpoint_at_maximum.period_seconds
      }
    }
  }

  depends_on = [aws_sns_topic_policy.this]
}
