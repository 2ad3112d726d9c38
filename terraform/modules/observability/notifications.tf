locals {
  topic_name = "${var.name}-alarms"
  topic_arn  = "arn:${local.partition}:sns:${local.region}:${local.account}:${local.topic_name}"
  topic_arns = var.topic == null ? [] : [local.topic_arn]
}

resource "aws_sns_topic" "this" {
  # checkov:skip=CKV_AWS_26:Alarms cannot publish to a topic under AWS's own key for SNS; an own key is the caller's choice (kms_key_arn)
  count = var.topic == null ? 0 : 1

  name              = local.topic_name
  display_name      = var.name
  kms_master_key_id = var.kms_key_arn
}

resource "aws_sns_topic_policy" "this" {
  count = var.topic == null ? 0 : 1

  arn = aws_sns_topic.this[0].arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
        Sid       = "AlarmsOfThisDeployment"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = local.topic_arn
        Condition = {
          StringEquals = { "aws:SourceAccount" = local.account }
          ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:cloudwatch:${local.region}:${local.account}:alarm:${var.name}-*" }
        }
      },
      {
        # https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-sns-policy.html
        Sid       = "BudgetsOfThisAccount"
        Effect    = "Allow"
        Principal = { Service = "budgets.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = local.topic_arn
        Condition = {
          StringEquals = { "aws:SourceAccount" = local.account }
          ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:budgets::${local.account}:*" }
        }
      },
      {
        Sid       = "DenyPlainHttp"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sns:Publish"
        Resource  = local.topic_arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

# AWS asks each address whether it wants these mails; until it says so nothing is sent, and destroy leaves the question.
resource "aws_sns_topic_subscription" "email" {
  for_each = toset(try(var.topic.emails, []))

  topic_arn = aws_sns_topic.this[0].arn
  protocol  = "email"
  endpoint  = each.key
}

resource "aws_budgets_budget" "this" {
  count = var.budget == null ? 0 : 1

  name         = var.name
  budget_type  = "COST"
  time_unit    = "MONTHLY"
  limit_amount = var.budget.limit
  limit_unit   = "USD"

  # https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/cost-alloc-tags.html
  dynamic "cost_filter" {
    for_each = var.budget.tag[*]

    content {
      name   = "TagKeyValue"
      values = [format("user:%s$%s", cost_filter.value.key, cost_filter.value.value)]
    }
  }

  dynamic "notification" {
    for_each = setproduct(var.budget.percentages, var.budget.include_forecast ? ["ACTUAL", "FORECASTED"] : ["ACTUAL"])

    content {
      notification_type          = notification.value[1]
      comparison_operator        = "GREATER_THAN"
      threshold                  = notification.value[0]
      threshold_type             = "PERCENTAGE"
      subscriber_email_addresses = var.budget.emails
      # A notification takes one topic: the own one, or the first of those given.
      subscriber_sns_topic_arns = slice(concat(local.topic_arns, var.alarm_actions), 0, min(1, length(local.actions)))
    }
  }

  depends_on = [aws_sns_topic_policy.this]

  lifecycle {
    precondition {
      condition     = length(var.budget.emails) + length(local.actions) > 0
      error_message = "Nobody would hear of the budget ${var.name}: give budget.emails, a topic or alarm_actions."
    }
  }
}
