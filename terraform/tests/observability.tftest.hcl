mock_provider "aws" {
  source = "./tests/mocks"

  mock_data "aws_region" {
    defaults = { id = "us-east-1" }
  }

  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:us-east-1:123456789012:whippet-test-alarms" }
  }
}

variables {
  name          = "whippet-test"
  function_name = "whippet-test"
  endpoint_name = "whippet-test"
}

run "failures_of_function_and_endpoint_are_watched" {
  command = plan

  module {
    source = "./modules/observability"
  }

  assert {
    condition     = output.alarm_names == { for key in ["lambda_errors", "lambda_throttles", "lambda_duration", "endpoint_5xx", "endpoint_latency", "endpoint_cpu", "endpoint_no_instance"] : key => "whippet-test-${replace(key, "_", "-")}" }
    error_message = "Seven alarms; how many instances there may be is not known."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["endpoint_5xx"].dimensions == tomap({ EndpointName = "whippet-test", VariantName = "AllTraffic" })
    error_message = "SageMaker reports by endpoint and variant."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["lambda_errors"].dimensions == tomap({ FunctionName = "whippet-test" }) && aws_cloudwatch_metric_alarm.this["lambda_errors"].period == 300 && aws_cloudwatch_metric_alarm.this["lambda_errors"].threshold == 0
    error_message = "Any failure within five minutes."
  }

  assert {
    condition     = alltrue([for key, alarm in aws_cloudwatch_metric_alarm.this : alarm.treat_missing_data == (key == "endpoint_no_instance" ? "breaching" : "notBreaching")])
    error_message = "No traffic is no failure; no instance is one."
  }

  assert {
    condition     = length(aws_sns_topic.this) == 0 && length(aws_budgets_budget.this) == 0
    error_message = "No topic and no budget unless asked for."
  }
}

run "thresholds_are_in_the_units_of_the_metrics" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    function_timeout = 20
    endpoint_vcpus   = 4
    alarms           = { endpoint_latency = { threshold = 250 }, endpoint_cpu = { threshold = 50, periods = 2 } }
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["lambda_duration"].threshold == 16000 && aws_cloudwatch_metric_alarm.this["lambda_duration"].statistic == "Maximum"
    error_message = "80 % of 20 s in milliseconds."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["endpoint_latency"].threshold == 250000 && aws_cloudwatch_metric_alarm.this["endpoint_latency"].extended_statistic == "p99" && aws_cloudwatch_metric_alarm.this["endpoint_latency"].statistic == null && aws_cloudwatch_metric_alarm.this["endpoint_latency"].evaluation_periods == 3
    error_message = "250 ms in microseconds, at the 99th percentile."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["endpoint_cpu"].threshold == 200 && aws_cloudwatch_metric_alarm.this["endpoint_cpu"].namespace == "/aws/sagemaker/Endpoints" && aws_cloudwatch_metric_alarm.this["endpoint_cpu"].evaluation_periods == 2
    error_message = "Half of four processors."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["endpoint_no_instance"].statistic == "SampleCount" && aws_cloudwatch_metric_alarm.this["endpoint_no_instance"].comparison_operator == "LessThanThreshold" && aws_cloudwatch_metric_alarm.this["endpoint_no_instance"].threshold == 1
    error_message = "Each instance gives a sample."
  }
}

run "end_of_scaling_is_told_by_metric_math" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    endpoint_max_instances = 5
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.at_maximum[0].threshold == 4.5 && aws_cloudwatch_metric_alarm.at_maximum[0].evaluation_periods == 15
    error_message = "Five instances for 15 minutes."
  }

  assert {
    condition     = one([for query in aws_cloudwatch_metric_alarm.at_maximum[0].metric_query : query.expression if query.return_data]) == "invocations / per_instance"
    error_message = "Their number is computed."
  }

  assert {
    condition     = output.alarm_names.endpoint_at_maximum == "whippet-test-endpoint-at-maximum"
    error_message = "It has a name like the others."
  }
}

run "serverless_endpoint_has_no_instances_to_watch" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    endpoint_has_instances = false
    endpoint_max_instances = 5
  }

  assert {
    condition     = toset(keys(output.alarm_names)) == toset(["lambda_errors", "lambda_throttles", "lambda_duration", "endpoint_5xx", "endpoint_latency"])
    error_message = "SageMaker tells nothing of CPU and instances there."
  }

  assert {
    condition     = !strcontains(aws_cloudwatch_dashboard.this[0].dashboard_body, "CPUUtilization")
    error_message = "Neither does the dashboard."
  }
}

run "function_alone_is_watched" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    endpoint_name = null
  }

  assert {
    condition     = toset(keys(output.alarm_names)) == toset(["lambda_errors", "lambda_throttles", "lambda_duration"]) && output.rollback_alarm_names == []
    error_message = "No endpoint, no alarm on it."
  }
}

run "endpoint_alone_is_watched" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    function_name = null
  }

  assert {
    condition     = alltrue([for key in keys(output.alarm_names) : startswith(key, "endpoint_")])
    error_message = "No function, no alarm on it."
  }
}

run "alarm_can_be_left_out" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    alarms = { endpoint_no_instance = { enabled = false }, endpoint_5xx = { enabled = false } }
  }

  assert {
    condition     = !contains(keys(output.alarm_names), "endpoint_no_instance") && output.rollback_alarm_names == ["whippet-test-endpoint-latency"]
    error_message = "Nobody is given its name."
  }
}

run "rollback_watches_what_tells_a_bad_model" {
  command = plan

  module {
    source = "./modules/observability"
  }

  assert {
    condition     = output.rollback_alarm_names == ["whippet-test-endpoint-5xx", "whippet-test-endpoint-latency"]
    error_message = "Load does not roll back, and a new endpoint has no instance yet."
  }
}

run "topics_hear_of_alarms_and_of_their_end" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    alarm_actions          = ["arn:aws:sns:us-east-1:123456789012:on-call"]
    endpoint_max_instances = 5
  }

  assert {
    condition     = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.this), aws_cloudwatch_metric_alarm.at_maximum) : alarm.alarm_actions == toset(var.alarm_actions) && alarm.ok_actions == toset(var.alarm_actions)])
    error_message = "Both go to the topics."
  }
}

run "own_topic_lets_only_alarms_and_budgets_of_this_account_publish" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    topic       = { emails = ["on-call@example.org"] }
    kms_key_arn = "arn:aws:kms:us-east-1:123456789012:key/1"
  }

  assert {
    condition = jsondecode(aws_sns_topic_policy.this[0].policy).Statement == [
      {
        Sid       = "AlarmsOfThisDeployment"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = "arn:aws:sns:us-east-1:123456789012:whippet-test-alarms"
        Condition = {
          StringEquals = { "aws:SourceAccount" = "123456789012" }
          ArnLike      = { "aws:SourceArn" = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:whippet-test-*" }
        }
      },
      {
        Sid       = "BudgetsOfThisAccount"
        Effect    = "Allow"
        Principal = { Service = "budgets.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = "arn:aws:sns:us-east-1:123456789012:whippet-test-alarms"
        Condition = {
          StringEquals = { "aws:SourceAccount" = "123456789012" }
          ArnLike      = { "aws:SourceArn" = "arn:aws:budgets::123456789012:*" }
        }
      },
      {
        Sid       = "DenyPlainHttp"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sns:Publish"
        Resource  = "arn:aws:sns:us-east-1:123456789012:whippet-test-alarms"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
    error_message = "Three statements."
  }

  assert {
    condition     = aws_sns_topic.this[0].kms_master_key_id == var.kms_key_arn && aws_sns_topic_subscription.email["on-call@example.org"].protocol == "email"
    error_message = "Encrypted, and mailed."
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : alarm.alarm_actions == toset(["arn:aws:sns:us-east-1:123456789012:whippet-test-alarms"])])
    error_message = "Every alarm tells it."
  }
}

run "budget_tells_topic_and_mails" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    topic  = {}
    budget = { limit = 100, emails = ["owner@example.org"], tag = { key = "Project", value = "whippet" } }
  }

  assert {
    condition     = length(aws_budgets_budget.this[0].notification) == 4 && alltrue([for notification in aws_budgets_budget.this[0].notification : notification.subscriber_sns_topic_arns == toset(["arn:aws:sns:us-east-1:123456789012:whippet-test-alarms"]) && notification.subscriber_email_addresses == toset(["owner@example.org"])])
    error_message = "At 80 and 100 %, actual and forecast."
  }

  assert {
    condition     = one(aws_budgets_budget.this[0].cost_filter).values == tolist(["user:Project$whippet"]) && aws_budgets_budget.this[0].limit_amount == "100" && aws_budgets_budget.this[0].time_unit == "MONTHLY"
    error_message = "Of what is tagged, by the month."
  }
}

run "budget_of_actual_costs_tells_a_given_topic" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    alarm_actions = ["arn:aws:sns:us-east-1:123456789012:on-call"]
    budget        = { limit = 10, percentages = [100], include_forecast = false }
  }

  assert {
    condition     = one(aws_budgets_budget.this[0].notification).notification_type == "ACTUAL" && one(aws_budgets_budget.this[0].notification).subscriber_sns_topic_arns == toset(["arn:aws:sns:us-east-1:123456789012:on-call"]) && length(aws_budgets_budget.this[0].cost_filter) == 0
    error_message = "Once, for the whole account."
  }
}

run "dashboard_shows_function_endpoint_and_alarms" {
  command = plan

  module {
    source = "./modules/observability"
  }

  assert {
    condition     = length(jsondecode(aws_cloudwatch_dashboard.this[0].dashboard_body).widgets) == 8
    error_message = "The alarms and seven graphs."
  }

  assert {
    condition     = contains(jsondecode(aws_cloudwatch_dashboard.this[0].dashboard_body).widgets[0].properties.alarms, "arn:aws:cloudwatch:us-east-1:123456789012:alarm:whippet-test-endpoint-5xx")
    error_message = "By their ARNs."
  }

  assert {
    condition     = jsondecode(aws_cloudwatch_dashboard.this[0].dashboard_body).widgets[1].properties.metrics[0] == ["AWS/Lambda", "Invocations", "FunctionName", "whippet-test", { stat = "Sum" }]
    error_message = "As CloudWatch writes a line."
  }

  assert {
    condition     = output.dashboard_url == "https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#dashboards/dashboard/whippet-test"
    error_message = "Where it is shown."
  }
}

run "dashboard_is_left_out_on_request" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    create_dashboard = false
  }

  assert {
    condition     = length(aws_cloudwatch_dashboard.this) == 0 && output.dashboard_url == null
    error_message = "It may cost 3 dollars a month."
  }
}

run "budget_of_which_nobody_hears_is_refused" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    budget = { limit = 10 }
  }

  expect_failures = [aws_budgets_budget.this]
}

run "one_wrong_value_of_each_variable_is_refused" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    # name with a space
    name = "my alarms"
    # timeout over 15 minutes
    function_timeout = 901
    # half a processor
    endpoint_vcpus = 0.5
    # maximum of one instance
    endpoint_max_instances = 1
    # negative threshold
    alarms = { endpoint_5xx = { threshold = -1 } }
    # email as topic
    alarm_actions = ["on-call@example.org"]
    # topic mail without an at
    topic = { emails = ["on-call"] }
    # budget of nothing
    budget = { limit = 0, emails = ["owner@example.org"] }
    # alias as key
    kms_key_arn = "alias/whippet"
  }

  expect_failures = [
    var.name,
    var.function_timeout,
    var.endpoint_vcpus,
    var.endpoint_max_instances,
    var.alarms,
    var.alarm_actions,
    var.topic,
    var.budget,
    var.kms_key_arn,
  ]
}

run "another_wrong_value_is_refused" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    # cpu above 100 percent
    alarms = { endpoint_cpu = { threshold = 150 } }
    # budget with too many notifications
    budget = { limit = 10, percentages = [10, 20, 30, 40, 50, 60], emails = ["owner@example.org"] }
  }

  expect_failures = [
    var.alarms,
    var.budget,
  ]
}

run "a_third_wrong_value_is_refused" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    # period of 10 seconds
    alarms = { lambda_errors = { period_seconds = 10 } }
    # budget mail without an at
    budget = { limit = 10, emails = ["owner"] }
  }

  expect_failures = [
    var.alarms,
    var.budget,
  ]
}

run "a_fourth_wrong_value_is_refused" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    # alarm that waits for two days
    alarms = { lambda_errors = { period_seconds = 86400, periods = 2 } }
  }

  expect_failures = [
    var.alarms,
  ]
}
