locals {
  # How often an update waits, and for how many seconds in all, with the instances that the endpoint starts with.
  steps = var.deployment == null ? 0 : (
    var.deployment.strategy == "ALL_AT_ONCE" ? 1 :
    var.deployment.strategy == "CANARY" ? 2 :
    var.deployment.step.type == "CAPACITY_PERCENT" ? ceil(100 / var.deployment.step.value) :
    ceil(max(concat([0], [for variant in values(local.variants) : coalesce(variant.initial_instance_count, 1)])...) / var.deployment.step.value)
  )
  waits = var.deployment == null ? 0 : local.steps * var.deployment.wait_seconds + var.deployment.termination_wait_seconds

  # Steps need a size and more than one instance, and are not for every endpoint; all at once is.
  has_steps = var.deployment != null && try(var.deployment.strategy != "ALL_AT_ONCE", false)
}

resource "aws_sagemaker_endpoint" "this" {
  name                 = var.name
  endpoint_config_name = aws_sagemaker_endpoint_configuration.this.name

  dynamic "deployment_config" {
    for_each = var.deployment[*]
    iterator = deployment

    content {
      dynamic "blue_green_update_policy" {
        for_each = deployment.value.strategy == "ROLLING" ? [] : [deployment.value]

        content {
          termination_wait_in_seconds          = blue_green_update_policy.value.termination_wait_seconds
          maximum_execution_timeout_in_seconds = blue_green_update_policy.value.timeout_seconds

          traffic_routing_configuration {
            type                     = blue_green_update_policy.value.strategy
            wait_interval_in_seconds = blue_green_update_policy.value.wait_seconds

            dynamic "canary_size" {
              for_each = blue_green_update_policy.value.strategy == "CANARY" ? [blue_green_update_policy.value.step] : []

              content {
                type  = canary_size.value.type
                value = canary_size.value.value
              }
            }

            dynamic "linear_step_size" {
              for_each = blue_green_update_policy.value.strategy == "LINEAR" ? [blue_green_update_policy.value.step] : []

              content {
                type  = linear_step_size.value.type
                value = linear_step_size.value.value
              }
            }
          }
        }
      }

      dynamic "rolling_update_policy" {
        for_each = deployment.value.strategy == "ROLLING" ? [deployment.value] : []

        content {
          wait_interval_in_seconds             = rolling_update_policy.value.wait_seconds
          maximum_execution_timeout_in_seconds = rolling_update_policy.value.timeout_seconds

          maximum_batch_size {
            type  = rolling_update_policy.value.step.type
            value = rolling_update_policy.value.step.value
          }
        }
      }

      dynamic "auto_rollback_configuration" {
        for_each = length(deployment.value.rollback_alarm_names) == 0 ? [] : [deployment.value.rollback_alarm_names]

        content {
          dynamic "alarms" {
            for_each = toset(auto_rollback_configuration.value)

            content {
              alarm_name = alarms.value
            }
          }
        }
      }
    }
  }

  # The role must be able to look at the alarms before the first update does.
  depends_on = [aws_cloudwatch_log_group.this, aws_iam_role_policy.this]

  lifecycle {
    precondition {
      condition     = var.deployment == null || local.waits < try(var.deployment.timeout_seconds, 0)
      error_message = "The update waits ${local.waits} seconds in all and would be rolled back before its end: raise deployment.timeout_seconds, or lower wait_seconds."
    }

    precondition {
      condition = !local.has_steps || try(var.deployment.step.type == "CAPACITY_PERCENT", true) || alltrue([
        for variant in values(local.variants) : try(var.deployment.step.value <= coalesce(variant.initial_instance_count, 1) / 2, true)
      ])
      error_message = "deployment.step is at most half of each variant's initial_instance_count instances: give more instances, a smaller step, or CAPACITY_PERCENT."
    }

    precondition {
      # https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-exclusions.html
      condition     = try(var.deployment.strategy, null) != "ROLLING" || (!local.is_serverless && length(local.variants) == 1)
      error_message = "A rolling update needs instances and one variant: choose CANARY, LINEAR or ALL_AT_ONCE."
    }

    precondition {
      # The same page: SageMaker would fall back to all at once, without alarms, and say nothing.
      condition     = !local.has_steps || alltrue([for variant in values(local.variants) : !startswith(coalesce(variant.instance_type, "none"), "ml.inf1.")])
      error_message = "Endpoints on ml.inf1 instances are updated all at once: leave deployment out, or choose ml.inf2."
    }

    postcondition {
      # SageMaker rolls back to the old configuration and reports success; without this check Terraform would go on and
      # delete that configuration: https://github.com/hashicorp/terraform-provider-aws/issues/39099
      condition     = self.endpoint_config_name == aws_sagemaker_endpoint_configuration.this.name
      error_message = "SageMaker rolled the update of ${var.name} back, and the endpoint serves as before. `aws sagemaker describe-endpoint --endpoint-name ${var.name} --query FailureReason` says why; the next apply tries again."
    }
  }
}
