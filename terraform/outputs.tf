output "region" {
  description = "Region of the deployment."
  value       = var.region
}

output "lambda_function_name" {
  description = "Name of the function."
  value       = module.lambda.function_name
}

output "lambda_function_arn" {
  description = "ARN of the function, without a version or an alias."
  value       = module.lambda.function_arn
}

output "lambda_alias_arn" {
  description = "ARN of the alias in service: what a caller's policy names for lambda:InvokeFunction."
  value       = module.lambda.alias_arn
}

output "lambda_function_url" {
  description = "HTTPS URL of the function; null without lambda_function_url."
  value       = module.lambda.function_url
}

output "lambda_role_arn" {
  description = "ARN of the function's role."
  value       = module.lambda.role_arn
}

output "endpoint_name" {
  description = "Name of the SageMaker endpoint; null with single_hop."
  value       = one(module.endpoint[*].name)
}

output "endpoint_arn" {
  description = "ARN of the SageMaker endpoint; null with single_hop."
  value       = one(module.endpoint[*].arn)
}

output "inference_image" {
  description = "URI of the container image that serves the model; null with single_hop."
  value       = one(module.endpoint[*].image)
}

output "artifacts_bucket" {
  description = "Bucket of the models, the photos (data/), the training runs (runs/) and their checkpoints."
  value       = module.artifacts.bucket
}

output "buckets" {
  description = "Buckets by what is in them: models, code, data_capture, logs."
  value       = module.artifacts.buckets
}

output "kms_key_arn" {
  description = "ARN of the KMS key that encrypts all of it; null for AWS's own keys."
  value       = module.artifacts.kms_key_arn
}

output "model_s3_uri" {
  description = "The model archive that the endpoint serves; null with single_hop, whose package holds the model."
  value       = module.artifacts.model_s3_uri
}

output "training_model_parameter" {
  description = "SSM parameter that holds the address of the newest trained model; null without create_training_instance."
  value       = one(module.training_instance[*].model_parameter_name)
}

output "notebook_name" {
  description = "Name of the notebook instance; null without create_notebook."
  value       = one(module.notebook[*].name)
}

output "alarm_names" {
  description = "Names of the CloudWatch alarms, by what they watch."
  value       = module.observability.alarm_names
}

output "alarm_topic_arn" {
  description = "ARN of the topic that hears of alarms; null without alarm_emails."
  value       = module.observability.topic_arn
}

output "github_role_arn" {
  description = "ARN of the role that GitHub Actions takes to deploy; null without github."
  value       = one(module.github_oidc[*].role_arn)
}

output "commands" {
  description = "Commands to paste: what a person needs next, by what it does."
  value = { for does, command in {
    ask_the_lambda = join(" ", [
      "base64 < dog.jpg | tr -d '\\n' | sed 's/.*/{\"image\":\"&\"}/' > event.json &&",
      "aws lambda invoke --region ${var.region} --function-name ${module.lambda.alias_arn} --payload fileb://event.json answer.json && cat answer.json",
    ])
    ask_the_endpoint = one([for endpoint in module.endpoint : join(" ", [
      "aws sagemaker-runtime invoke-endpoint --region ${var.region} --endpoint-name ${endpoint.name} --content-type image/jpeg",
      "--body fileb://dog.jpg answer.json && cat answer.json",
    ])])
    follow_the_lambda   = "aws logs tail ${module.lambda.log_group_name} --follow --region ${var.region}"
    follow_the_endpoint = one([for endpoint in module.endpoint : "aws logs tail ${endpoint.log_group_name} --follow --region ${var.region}"])
    why_an_update_ended = one([for endpoint in module.endpoint : "aws sagemaker describe-endpoint --region ${var.region} --endpoint-name ${endpoint.name} --query '[EndpointStatus,FailureReason]'"])
    upload_photos       = "aws s3 sync PHOTOS s3://${module.artifacts.buckets["models"]}/data/ --region ${var.region}"
    train               = one(module.training_instance[*].start_command)
    follow_the_training = one(module.training_instance[*].logs_command)
    open_the_notebook   = one(module.notebook[*].open_command)
    start_the_notebook  = one(module.notebook[*].start_command)
    see_the_dashboard   = module.observability.dashboard_url
  } : does => command if command != null }
}
