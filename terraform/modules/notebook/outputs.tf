output "name" {
  description = "Name of the notebook instance."
  value       = aws_sagemaker_notebook_instance.this.name
}

output "url" {
  description = "Address of the notebook, behind a sign-in to AWS."
  value       = aws_sagemaker_notebook_instance.this.url
}

output "role_arn" {
  description = "ARN of the notebook's role."
  value       = aws_iam_role.this.arn
}
