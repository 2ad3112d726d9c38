output "instance_id" {
  description = "Id of the instance."
  value       = aws_instance.this.id
}

output "role_arn" {
  description = "ARN of the instance's role."
  value       = aws_iam_role.this.arn
}
