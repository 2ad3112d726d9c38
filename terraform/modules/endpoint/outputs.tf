output "name" {
  description = "Name of the endpoint."
  value       = aws_sagemaker_endpoint.this.name
}

output "arn" {
  description = "ARN of the endpoint: what a caller's policy names."
  value       = aws_sagemaker_endpoint.this.arn
}

output "variant_name" {
  description = "Name of the production variant."
  value       = var.variant_name
}

output "model_name" {
  description = "Name of the SageMaker model behind the endpoint; it changes with the archive, the image and the environment."
  value       = aws_sagemaker_model.this.name
}

output "image" {
  description = "URI of the inference image."
  value       = local.image
}

output "role_arn" {
  description = "ARN of the execution role."
  value       = aws_iam_role.this.arn
}
