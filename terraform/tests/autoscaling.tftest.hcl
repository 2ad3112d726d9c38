mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  endpoint_name = "whippet-test"
}

run "defaults_are_the_decided_figures" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  assert {
    condition     = aws_appautoscaling_target.this.min_capacity == 1 && aws_appautoscaling_target.this.max_capacity == 5
    error_message = "1 to 5 instances."
  }

  assert {
    condition     = aws_appautoscaling_target.this.resource_id == "endpoint/whippet-test/variant/AllTraffic"
    error_message = "The variant of the endpoint is scaled."
  }

  assert {
    condition     = aws_appautoscaling_policy.this.target_tracking_scaling_policy_configuration[0].scale_in_cooldown == 30 && aws_appautoscaling_policy.this.target_tracking_scaling_policy_configuration[0].scale_out_cooldown == 30
    error_message = "Cooldowns of 30 s both ways."
  }

  assert {
    condition     = aws_appautoscaling_policy.this.target_tracking_scaling_policy_configuration[0].target_value == 1 && !aws_appautoscaling_policy.this.target_tracking_scaling_policy_configuration[0].disable_scale_in
    error_message = "Target 1 concurrent request, in and out."
  }

  assert {
    condition     = one(aws_appautoscaling_policy.this.target_tracking_scaling_policy_configuration[0].predefined_metric_specification).predefined_metric_type == "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    error_message = "The high-resolution metric is tracked."
  }

  assert {
    condition     = length(aws_appautoscaling_scheduled_action.this) == 0
    error_message = "Nothing happens by the clock."
  }

  assert {
    condition     = output.target_value == 1 && output.min_capacity == 1 && output.max_capacity == 5
    error_message = "As its outputs tell."
  }
}

run "five_callers_reach_five_instances_at_target_1" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    caller_concurrency = 5
  }

  assert {
    condition     = output.target_value == 1
    error_message = "Accepted."
  }
}

run "ten_callers_reach_five_instances_at_target_2" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    caller_concurrency = 10
    target_value       = 2
  }

  assert {
    condition     = output.target_value == 2
    error_message = "Accepted."
  }
}

run "invocations_per_instance_take_a_target_of_their_own" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    metric             = "SageMakerVariantInvocationsPerInstance"
    target_value       = 840
    caller_concurrency = 5
  }

  assert {
    condition     = output.target_value == 840
    error_message = "Accepted: without the time of a request nobody knows how many a caller makes."
  }

  assert {
    condition     = one(aws_appautoscaling_policy.this.target_tracking_scaling_policy_configuration[0].predefined_metric_specification).predefined_metric_type == "SageMakerVariantInvocationsPerInstance"
    error_message = "As asked."
  }
}

run "five_callers_of_half_a_second_make_600_invocations" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    metric                 = "SageMakerVariantInvocationsPerInstance"
    target_value           = 120
    caller_concurrency     = 5
    caller_request_seconds = 0.5
  }

  assert {
    condition     = output.target_value == 120
    error_message = "Accepted: 5 x 120 = 5 x 60 / 0.5."
  }
}

run "scale_in_can_be_left_to_others" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    enable_scale_in    = false
    scale_in_cooldown  = 300
    scale_out_cooldown = 60
  }

  assert {
    condition     = aws_appautoscaling_policy.this.target_tracking_scaling_policy_configuration[0].disable_scale_in && aws_appautoscaling_policy.this.target_tracking_scaling_policy_configuration[0].scale_in_cooldown == 300 && aws_appautoscaling_policy.this.target_tracking_scaling_policy_configuration[0].scale_out_cooldown == 60
    error_message = "As asked."
  }
}

run "scheduled_actions_move_the_bounds" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    scheduled_actions = {
      morning = { schedule = "cron(0 7 ? * MON-FRI *)", timezone = "Europe/Berlin", min_capacity = 3, max_capacity = 8 }
      launch  = { schedule = "at(2027-01-31T08:00:00)", min_capacity = 5 }
      nightly = { schedule = "rate(1 day)", max_capacity = 2, start_time = "2027-01-01T22:00:00Z", end_time = "2027-12-31T22:00:00Z" }
    }
  }

  assert {
    condition     = aws_appautoscaling_scheduled_action.this["morning"].schedule == "cron(0 7 ? * MON-FRI *)" && aws_appautoscaling_scheduled_action.this["morning"].timezone == "Europe/Berlin" && aws_appautoscaling_scheduled_action.this["morning"].name == "whippet-test-morning"
    error_message = "By the clock of the place."
  }

  assert {
    condition     = aws_appautoscaling_scheduled_action.this["morning"].scalable_target_action[0].min_capacity == "3" && aws_appautoscaling_scheduled_action.this["morning"].scalable_target_action[0].max_capacity == "8"
    error_message = "Both bounds."
  }

  assert {
    condition     = aws_appautoscaling_scheduled_action.this["launch"].scalable_target_action[0].min_capacity == "5" && aws_appautoscaling_scheduled_action.this["launch"].scalable_target_action[0].max_capacity == null && aws_appautoscaling_scheduled_action.this["launch"].timezone == "UTC"
    error_message = "Or one of them, in UTC."
  }

  assert {
    condition     = aws_appautoscaling_scheduled_action.this["nightly"].start_time == "2027-01-01T22:00:00Z" && aws_appautoscaling_scheduled_action.this["nightly"].end_time == "2027-12-31T22:00:00Z"
    error_message = "For a time."
  }

  assert {
    condition     = aws_appautoscaling_scheduled_action.this["morning"].resource_id == aws_appautoscaling_target.this.resource_id
    error_message = "Of the same variant."
  }
}

run "instance_type_is_watched" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    instance_type = "ml.c6i.xlarge"
  }

  assert {
    condition     = terraform_data.instance_type.input == "ml.c6i.xlarge"
    error_message = "A change of it registers the variant anew."
  }
}

run "five_callers_never_reach_five_instances_at_target_2" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    caller_concurrency = 5
    target_value       = 2
  }

  expect_failures = [aws_appautoscaling_policy.this]
}

run "five_callers_never_reach_six_instances" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    caller_concurrency = 5
    max_capacity       = 6
  }

  expect_failures = [aws_appautoscaling_policy.this]
}

run "five_callers_never_reach_six_scheduled_instances" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    caller_concurrency = 5
    scheduled_actions  = { morning = { schedule = "rate(1 day)", max_capacity = 6 } }
  }

  expect_failures = [aws_appautoscaling_policy.this]
}

run "five_callers_of_half_a_second_never_make_605_invocations" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    metric                 = "SageMakerVariantInvocationsPerInstance"
    target_value           = 121
    caller_concurrency     = 5
    caller_request_seconds = 0.5
  }

  expect_failures = [aws_appautoscaling_policy.this]
}

run "max_below_min_is_refused" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    min_capacity = 3
    max_capacity = 2
  }

  expect_failures = [var.max_capacity]
}

run "schedule_of_five_fields_is_refused" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    scheduled_actions = { morning = { schedule = "cron(0 7 * * MON-FRI)", min_capacity = 2 } }
  }

  expect_failures = [var.scheduled_actions]
}

run "scheduled_action_that_does_nothing_is_refused" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    scheduled_actions = { morning = { schedule = "rate(1 day)" } }
  }

  expect_failures = [var.scheduled_actions]
}

run "scheduled_min_above_max_is_refused" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    scheduled_actions = { morning = { schedule = "rate(1 day)", min_capacity = 6 } }
  }

  expect_failures = [var.scheduled_actions]
}

run "scheduled_start_that_is_no_moment_is_refused" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    scheduled_actions = { morning = { schedule = "rate(1 day)", min_capacity = 2, start_time = "monday" } }
  }

  expect_failures = [var.scheduled_actions]
}

run "invocations_per_instance_without_a_target_are_refused" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    metric = "SageMakerVariantInvocationsPerInstance"
  }

  expect_failures = [var.target_value]
}

# Several variables with one wrong value each: Terraform refuses every one of them.

run "numbers_out_of_range_are_refused" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    min_capacity           = 0
    target_value           = 0
    scale_in_cooldown      = -1
    scale_out_cooldown     = -1
    caller_concurrency     = 0
    caller_request_seconds = 0
  }

  expect_failures = [
    var.min_capacity,
    var.target_value,
    var.scale_in_cooldown,
    var.scale_out_cooldown,
    var.caller_concurrency,
    var.caller_request_seconds,
  ]
}

run "words_that_aws_does_not_know_are_refused" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    metric            = "CPUUtilization"
    instance_type     = "ml.t3.medium"
    scheduled_actions = { morning = { schedule = "rate(1 day)", timezone = "+01:00", min_capacity = 2 } }
  }

  expect_failures = [
    var.metric,
    var.instance_type,
    var.scheduled_actions,
  ]
}
