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
