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

output "start_command" {
  description = "Command that starts the notebook again after it has stopped itself."
  value       = "aws sagemaker start-notebook-instance --notebook-instance-name ${aws_sagemaker_notebook_instance.this.name} --region ${local.region}"
}

output "open_command" {
  description = "Command that prints an address of the notebook which lets you in for half an hour."
  value       = "aws sagemaker create-presigned-notebook-instance-url --notebook-instance-name ${aws_sagemaker_notebook_instance.this.name} --session-expiration-duration-in-seconds 1800 --region ${local.region} --query AuthorizedUrl --output text"
}
