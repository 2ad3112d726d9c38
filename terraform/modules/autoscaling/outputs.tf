output "resource_id" {
  description = "The scalable target's id, endpoint/NAME/variant/VARIANT."
  value       = aws_appautoscaling_target.this.resource_id
}

output "policy_arn" {
  description = "ARN of the scaling policy."
  value       = aws_appautoscaling_policy.this.arn
}

output "target_value" {
  description = "Value of the metric that scaling aims at."
  value       = local.target_value
}

output "min_capacity" {
  description = "Fewest instances, while no scheduled action says otherwise."
  value       = aws_appautoscaling_target.this.min_capacity
}

output "max_capacity" {
  description = "Most instances, while no scheduled action says otherwise."
  value       = aws_appautoscaling_target.this.max_capacity
}

output "scheduled_action_arns" {
  description = "ARNs of the scheduled actions by name."
  value       = { for name, action in aws_appautoscaling_scheduled_action.this : name => action.arn }
}
