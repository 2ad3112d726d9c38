mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name          = "whippet-test"
  function_name = "whippet-test"
  endpoint_name = "whippet-test"
}

run "failures_of_function_and_endpoint_are_watched" {
  module {
    source = "./modules/observability"
  }

  assert {
    condition     = output.alarm_names == tolist(["whippet-test-endpoint-5xx", "whippet-test-lambda-errors", "whippet-test-lambda-throttles"])
    error_message = "Three alarms."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["endpoint-5xx"].dimensions == tomap({ EndpointName = "whippet-test", VariantName = "AllTraffic" })
    error_message = "SageMaker reports by endpoint and variant."
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : alarm.treat_missing_data == "notBreaching"])
    error_message = "No traffic is no failure."
  }
}

run "topics_hear_of_alarms_and_of_their_end" {
  module {
    source = "./modules/observability"
  }

  variables {
    alarm_actions = ["arn:aws:sns:us-east-1:123456789012:on-call"]
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : alarm.alarm_actions == toset(var.alarm_actions) && alarm.ok_actions == toset(var.alarm_actions)])
    error_message = "Both go to the topics."
  }
}

run "email_as_topic_is_refused" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    alarm_actions = ["on-call@example.org"]
  }

  expect_failures = [var.alarm_actions]
}

run "negative_threshold_is_refused" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    threshold = -1
  }

  expect_failures = [var.threshold]
}
