mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  endpoint_name = "whippet-test"
}

run "defaults_are_the_decided_figures" {
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
    condition     = aws_appautoscaling_policy.this.target_tracking_scaling_policy_configuration[0].scale_in_cooldown == 30
    error_message = "Scale-in cooldown 30 s."
  }

  assert {
    condition     = aws_appautoscaling_policy.this.target_tracking_scaling_policy_configuration[0].scale_out_cooldown == 30
    error_message = "Scale-out cooldown 30 s."
  }

  assert {
    condition     = aws_appautoscaling_policy.this.target_tracking_scaling_policy_configuration[0].target_value == 1
    error_message = "Target 1 concurrent request."
  }

  assert {
    condition     = one(aws_appautoscaling_policy.this.target_tracking_scaling_policy_configuration[0].predefined_metric_specification).predefined_metric_type == "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    error_message = "The high-resolution metric is tracked."
  }
}

run "five_callers_reach_five_instances_at_target_1" {
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

run "ten_callers_reach_five_instances_at_target_2" {
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
    error_message = "Accepted: it counts per minute, so it has nothing to do with concurrency."
  }
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

run "target_0_is_refused" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    target_value = 0
  }

  expect_failures = [var.target_value]
}

run "unknown_metric_is_refused" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    metric = "CPUUtilization"
  }

  expect_failures = [var.metric]
}

run "min_capacity_0_is_refused" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    min_capacity = 0
  }

  expect_failures = [var.min_capacity]
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

run "negative_scale_in_cooldown_is_refused" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    scale_in_cooldown = -1
  }

  expect_failures = [var.scale_in_cooldown]
}

run "negative_scale_out_cooldown_is_refused" {
  command = plan

  module {
    source = "./modules/autoscaling"
  }

  variables {
    scale_out_cooldown = -1
  }

  expect_failures = [var.scale_out_cooldown]
}
