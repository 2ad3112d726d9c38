locals {
  creates_queue = var.asynchronous != null && try(var.asynchronous.on_failure_arn == null, false)
  queue_name    = "${var.function_name}-failed"
  queue_arn     = "arn:${local.partition}:sqs:${local.region}:${local.account}:${local.queue_name}"
  # By its name also where it is made here: the plan knows that.
  on_failure_arn = local.creates_queue ? local.queue_arn : try(var.asynchronous.on_failure_arn, null)
}

# Events of asynchronous calls that failed every attempt, each with its request and its error.
resource "aws_sqs_queue" "failed" {
  count = local.creates_queue ? 1 : 0

  name                      = local.queue_name
  message_retention_seconds = var.asynchronous.queue_retention_days * 86400

  # SQS's own encryption and an own key exclude one another.
  sqs_managed_sse_enabled = local.has_key ? null : true
  kms_master_key_id       = var.kms_key_arn

  # Here, not in a resource of its own: the provider waits 25 seconds for each of the two.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "DenyPlainHttp"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = local.queue_arn
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

# Lambda looks these up by what the caller named: the alias, or the function without one.
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-configuring.html
resource "aws_lambda_function_event_invoke_config" "this" {
  for_each = var.asynchronous == null ? [] : toset(["$LATEST", var.alias])

  function_name                = aws_lambda_alias.this.function_name
  qualifier                    = each.key
  maximum_retry_attempts       = var.asynchronous.maximum_retry_attempts
  maximum_event_age_in_seconds = var.asynchronous.maximum_event_age_seconds

  destination_config {
    on_failure {
      destination = local.on_failure_arn
    }
  }

  # The queue, and the role's leave to write to it, which Lambda checks.
  depends_on = [aws_iam_role_policy.this, aws_sqs_queue.failed]
}
