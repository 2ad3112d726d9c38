output "region" {
  description = "Region of the deployment."
  value       = var.region
}

output "lambda_function_name" {
  description = "Name of the function to ask: aws lambda invoke --function-name NAME."
  value       = module.lambda.function_name
}

output "lambda_function_arn" {
  description = "ARN of the function: what a caller's policy names for lambda:InvokeFunction."
  value       = module.lambda.function_arn
}

output "lambda_function_url" {
  description = "HTTPS URL of the function; null without lambda_create_function_url."
  value       = module.lambda.function_url
}

output "lambda_role_arn" {
  description = "ARN of the function's role."
  value       = module.lambda.role_arn
}

output "endpoint_name" {
  description = "Name of the SageMaker endpoint."
  value       = module.endpoint.name
}

output "endpoint_arn" {
  description = "ARN of the SageMaker endpoint."
  value       = module.endpoint.arn
}

output "inference_image" {
  description = "URI of the container image that serves the model."
  value       = module.endpoint.image
}

output "artifacts_bucket" {
  description = "Bucket of the models, the training package, the photos (data/) and the training runs (runs/)."
  value       = module.artifacts.bucket
}

output "model_s3_uri" {
  description = "The model archive that the endpoint serves."
  value       = module.artifacts.model_s3_uri
}

output "training_instance_id" {
  description = "Id of the training instance; null without create_training_instance."
  value       = one(module.training_instance[*].instance_id)
}

output "notebook_name" {
  description = "Name of the notebook instance; null without create_notebook."
  value       = one(module.notebook[*].name)
}

output "alarm_names" {
  description = "Names of the CloudWatch alarms."
  value       = module.observability.alarm_names
}
