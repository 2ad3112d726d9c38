# Functions with everything on, their logs, alarms and dashboards.
variable "changed" {
  type = bool
}

data "aws_caller_identity" "this" {}

resource "aws_iam_role" "this" {
  name = "matrix-functions"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["logs:*", "sqs:*", "sns:*", "xray:*", "ec2:*NetworkInterface*", "kms:*", "firehose:*"]
      Resource = "*"
    }]
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
  name   = "matrix-functions"
  vpc_id = aws_vpc.this.id
}

resource "aws_kms_key" "this" {}

resource "aws_sqs_queue" "this" {
  name = "matrix-functions"
}

resource "aws_sns_topic" "this" {
  name = "matrix-functions"
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/matrix-functions"
  retention_in_days = var.changed ? 14 : 7
  kms_key_id        = var.changed ? aws_kms_key.this.arn : null
}

resource "aws_cloudwatch_log_stream" "this" {
  name           = "matrix-functions"
  log_group_name = aws_cloudwatch_log_group.this.name
}

resource "aws_cloudwatch_log_metric_filter" "this" {
  name           = "errors"
  log_group_name = aws_cloudwatch_log_group.this.name
  pattern        = var.changed ? "?ERROR ?CRITICAL" : "ERROR"

  metric_transformation {
    namespace     = "Matrix"
    name          = "Errors"
    value         = "1"
    default_value = var.changed ? "0" : null
    unit          = var.changed ? "Count" : "None"
  }
}

resource "aws_cloudwatch_log_subscription_filter" "this" {
  name            = "errors"
  log_group_name  = aws_cloudwatch_log_group.this.name
  filter_pattern  = var.changed ? "CRITICAL" : "ERROR"
  destination_arn = aws_lambda_function.plain.arn

  depends_on = [aws_lambda_permission.logs]
}

resource "aws_cloudwatch_log_resource_policy" "this" {
  policy_name = "matrix-functions"
  policy_document = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "delivery.logs.amazonaws.com" }
      Action    = var.changed ? ["logs:PutLogEvents", "logs:CreateLogStream"] : ["logs:PutLogEvents"]
      Resource  = "*"
    }]
  })
}

resource "aws_lambda_code_signing_config" "this" {
  description = var.changed ? "the second" : "the first"

  allowed_publishers {
    signing_profile_version_arns = [aws_signer_signing_profile.this.version_arn]
  }

  policies {
    untrusted_artifact_on_deployment = var.changed ? "Enforce" : "Warn"
  }
}

resource "aws_signer_signing_profile" "this" {
  name        = "matrix"
  platform_id = "AWSLambda-SHA384-ECDSA"
}

resource "aws_lambda_layer_version" "this" {
  layer_name               = "matrix-functions"
  filename                 = "${path.module}/first.zip"
  source_code_hash         = filebase64sha256("${path.module}/first.zip")
  compatible_runtimes      = ["python3.12"]
  compatible_architectures = ["arm64"]
  description              = "Libraries"
}

resource "aws_lambda_function" "this" {
  function_name = "matrix-functions"
  description   = var.changed ? "the second" : "the first"
  role          = aws_iam_role.this.arn
  filename      = "${path.module}/${var.changed ? "second" : "first"}.zip"
  # The hash makes a new version of changed code.
  source_code_hash               = filebase64sha256("${path.module}/${var.changed ? "second" : "first"}.zip")
  handler                        = var.changed ? "module.other" : "module.handler"
  runtime                        = var.changed ? "python3.12" : "python3.11"
  architectures                  = [var.changed ? "x86_64" : "arm64"]
  memory_size                    = var.changed ? 512 : 256
  timeout                        = var.changed ? 60 : 30
  reserved_concurrent_executions = var.changed ? 6 : 5
  kms_key_arn                    = var.changed ? aws_kms_key.this.arn : null
  layers                         = var.changed ? [] : [aws_lambda_layer_version.this.arn]
  publish                        = true

  environment {
    variables = { ENDPOINT = var.changed ? "second" : "first" }
  }

  ephemeral_storage {
    size = var.changed ? 1024 : 512
  }

  dead_letter_config {
    target_arn = var.changed ? aws_sns_topic.this.arn : aws_sqs_queue.this.arn
  }

  tracing_config {
    mode = var.changed ? "Active" : "PassThrough"
  }

  logging_config {
    log_format            = "JSON"
    log_group             = aws_cloudwatch_log_group.this.name
    application_log_level = var.changed ? "DEBUG" : "INFO"
    system_log_level      = "WARN"
  }

  vpc_config {
    subnet_ids         = [aws_subnet.this.id]
    security_group_ids = [aws_security_group.this.id]
  }

  depends_on = [aws_iam_role_policy.this]
}

resource "aws_lambda_function" "plain" {
  function_name = "matrix-functions-plain"
  role          = aws_iam_role.this.arn
  filename      = "${path.module}/first.zip"
  handler       = "module.handler"
  runtime       = "python3.12"

  depends_on = [aws_iam_role_policy.this]
}

resource "aws_lambda_function" "signed" {
  function_name           = "matrix-functions-signed"
  role                    = aws_iam_role.this.arn
  filename                = "${path.module}/first.zip"
  handler                 = "module.handler"
  runtime                 = "python3.12"
  code_signing_config_arn = var.changed ? null : aws_lambda_code_signing_config.this.arn
  depends_on              = [aws_iam_role_policy.this]
}

resource "aws_lambda_alias" "this" {
  name             = "live"
  description      = var.changed ? "the second" : "the first"
  function_name    = aws_lambda_function.this.function_name
  function_version = var.changed ? aws_lambda_function.this.version : "1"
}

# Apart from the other, because an alias with weights takes no provisioned concurrency.
resource "aws_lambda_alias" "canary" {
  name             = "canary"
  function_name    = aws_lambda_function.this.function_name
  function_version = "1"

  dynamic "routing_config" {
    for_each = var.changed ? [1] : []

    content {
      additional_version_weights = { (aws_lambda_function.this.version) = 0.1 }
    }
  }
}

resource "aws_lambda_provisioned_concurrency_config" "this" {
  function_name                     = aws_lambda_function.this.function_name
  qualifier                         = aws_lambda_alias.this.name
  provisioned_concurrent_executions = var.changed ? 2 : 1
}

resource "aws_appautoscaling_target" "this" {
  service_namespace  = "lambda"
  scalable_dimension = "lambda:function:ProvisionedConcurrency"
  resource_id        = "function:${aws_lambda_function.this.function_name}:${aws_lambda_alias.this.name}"
  min_capacity       = 1
  max_capacity       = var.changed ? 4 : 3

  depends_on = [aws_lambda_provisioned_concurrency_config.this]
}

resource "aws_appautoscaling_policy" "this" {
  name               = "utilization"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  resource_id        = aws_appautoscaling_target.this.resource_id

  target_tracking_scaling_policy_configuration {
    target_value = var.changed ? 0.8 : 0.7

    predefined_metric_specification {
      predefined_metric_type = "LambdaProvisionedConcurrencyUtilization"
    }
  }
}

resource "aws_lambda_function_event_invoke_config" "this" {
  function_name                = aws_lambda_function.this.function_name
  qualifier                    = aws_lambda_alias.this.name
  maximum_event_age_in_seconds = var.changed ? 120 : 60
  maximum_retry_attempts       = var.changed ? 1 : 0

  destination_config {
    on_failure {
      destination = var.changed ? aws_sns_topic.this.arn : aws_sqs_queue.this.arn
    }
  }
}

resource "aws_lambda_function_event_invoke_config" "plain" {
  function_name          = aws_lambda_function.plain.function_name
  maximum_retry_attempts = var.changed ? 1 : 2

  destination_config {
    on_failure {
      destination = aws_sqs_queue.this.arn
    }

    on_success {
      destination = aws_sns_topic.this.arn
    }
  }
}

resource "aws_lambda_function_url" "alias" {
  function_name      = aws_lambda_function.this.function_name
  qualifier          = aws_lambda_alias.this.name
  authorization_type = var.changed ? "NONE" : "AWS_IAM"

  cors {
    allow_credentials = var.changed
    allow_headers     = ["content-type"]
    allow_methods     = ["POST"]
    allow_origins     = [var.changed ? "https://b.example" : "https://a.example"]
    expose_headers    = ["date"]
    max_age           = var.changed ? 120 : 60
  }
}

resource "aws_lambda_function_url" "plain" {
  function_name      = aws_lambda_function.plain.function_name
  authorization_type = "AWS_IAM"
  invoke_mode        = var.changed ? "RESPONSE_STREAM" : "BUFFERED"
}

resource "aws_lambda_permission" "url" {
  statement_id           = "url"
  action                 = "lambda:InvokeFunctionUrl"
  function_name          = aws_lambda_function.this.function_name
  qualifier              = aws_lambda_alias.this.name
  principal              = "*"
  function_url_auth_type = "NONE"
}

resource "aws_lambda_permission" "logs" {
  statement_id   = "logs"
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.plain.function_name
  principal      = "logs.amazonaws.com"
  source_arn     = "${aws_cloudwatch_log_group.this.arn}:*"
  source_account = data.aws_caller_identity.this.account_id
}

resource "aws_cloudwatch_metric_alarm" "metric" {
  alarm_name                = "matrix-functions-errors"
  alarm_description         = var.changed ? "the second" : "the first"
  namespace                 = "AWS/Lambda"
  metric_name               = "Errors"
  dimensions                = { FunctionName = var.changed ? "matrix-functions-plain" : "matrix-functions" }
  statistic                 = var.changed ? "Average" : "Sum"
  unit                      = "Count"
  period                    = var.changed ? 60 : 300
  evaluation_periods        = var.changed ? 3 : 2
  datapoints_to_alarm       = var.changed ? 2 : 1
  comparison_operator       = var.changed ? "GreaterThanOrEqualToThreshold" : "GreaterThanThreshold"
  threshold                 = var.changed ? 2 : 1
  treat_missing_data        = var.changed ? "breaching" : "notBreaching"
  actions_enabled           = !var.changed
  alarm_actions             = [aws_sns_topic.this.arn]
  ok_actions                = var.changed ? [aws_sns_topic.this.arn] : []
  insufficient_data_actions = var.changed ? [aws_sns_topic.this.arn] : []
}

resource "aws_cloudwatch_metric_alarm" "percentile" {
  alarm_name                            = "matrix-functions-duration"
  namespace                             = "AWS/Lambda"
  metric_name                           = "Duration"
  dimensions                            = { FunctionName = "matrix-functions" }
  extended_statistic                    = var.changed ? "p95" : "p99"
  evaluate_low_sample_count_percentiles = var.changed ? "evaluate" : "ignore"
  period                                = 60
  evaluation_periods                    = 1
  comparison_operator                   = "GreaterThanThreshold"
  threshold                             = 1000
}

resource "aws_cloudwatch_metric_alarm" "expression" {
  alarm_name          = "matrix-functions-error-rate"
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 5

  metric_query {
    id          = "rate"
    expression  = var.changed ? "100 * errors / MAX([errors, calls])" : "100 * errors / calls"
    label       = "Errors in percent"
    return_data = true
  }

  metric_query {
    id = "errors"

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Errors"
      dimensions  = { FunctionName = "matrix-functions" }
      period      = 60
      stat        = "Sum"
      unit        = "Count"
    }
  }

  metric_query {
    id = "calls"

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Invocations"
      dimensions  = { FunctionName = "matrix-functions" }
      period      = 60
      stat        = "Sum"
    }
  }
}

resource "aws_cloudwatch_composite_alarm" "this" {
  alarm_name        = "matrix-functions-any"
  alarm_description = var.changed ? "the second" : "the first"
  alarm_rule = join(var.changed ? " AND " : " OR ", [
    "ALARM(\"${aws_cloudwatch_metric_alarm.metric.alarm_name}\")",
    "ALARM(\"${aws_cloudwatch_metric_alarm.percentile.alarm_name}\")",
  ])
  alarm_actions = [aws_sns_topic.this.arn]
  ok_actions    = var.changed ? [aws_sns_topic.this.arn] : []
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = "matrix-functions"
  dashboard_body = jsonencode({
    widgets = [{
      type   = "metric"
      width  = 12
      height = 6
      properties = {
        title   = var.changed ? "Failures" : "Errors"
        region  = "us-east-1"
        metrics = [["AWS/Lambda", "Errors", "FunctionName", "matrix-functions"]]
      }
    }]
  })
}

resource "aws_lambda_event_source_mapping" "this" {
  event_source_arn = aws_sqs_queue.this.arn
  function_name    = aws_lambda_function.plain.arn
  batch_size       = var.changed ? 5 : 10
  enabled          = !var.changed
}
