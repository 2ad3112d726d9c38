output "start_command" {
  description = "Starts a training run, now or again."
  value       = "aws autoscaling set-desired-capacity --region ${local.region} --auto-scaling-group-name ${local.full_name} --desired-capacity 1"
}

output "stop_command" {
  description = "Ends a run before its time; its checkpoints stay."
  value       = "aws autoscaling set-desired-capacity --region ${local.region} --auto-scaling-group-name ${local.full_name} --desired-capacity 0"
}

output "logs_command" {
  description = "Follows the run's log."
  value       = "aws logs tail --region ${local.region} --follow ${local.log_group}"
}

output "autoscaling_group_name" {
  description = "Name of the group of none or one instance."
  value       = aws_autoscaling_group.this.name
}

output "launch_template_id" {
  description = "Id of the launch template."
  value       = aws_launch_template.this.id
}

output "model_parameter_name" {
  description = "SSM parameter that holds the newest model's S3 address, \"none\" before the first run ends."
  value       = aws_ssm_parameter.model.name
}

output "log_group_name" {
  description = "CloudWatch log group of the runs."
  value       = aws_cloudwatch_log_group.this.name
}

output "role_arn" {
  description = "ARN of the instance's role."
  value       = aws_iam_role.this.arn
}

output "security_group_id" {
  description = "Security group of the instance: what a VPC endpoint lets in."
  value       = aws_security_group.this.id
}
