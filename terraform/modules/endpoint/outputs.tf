output "name" {
  description = "Name of the endpoint."
  value       = aws_sagemaker_endpoint.this.name
}

output "arn" {
  description = "ARN of the endpoint: what a caller's policy names."
  value       = aws_sagemaker_endpoint.this.arn
}

output "variant_name" {
  description = "Name of the production variant; of several, the one that comes first in the alphabet."
  value       = keys(local.variants)[0]
}

output "variants" {
  description = "The production variants by name: model, image, instance type, instances to start with and weight. Autoscaling takes name and instance type from here."
  value = {
    for name, variant in local.variants : name => {
      model_name             = aws_sagemaker_model.this[name].name
      model_s3_uri           = local.model_s3_uris[name]
      image                  = local.images[name]
      instance_type          = variant.instance_type
      initial_instance_count = variant.initial_instance_count
      weight                 = variant.weight
    }
  }
}

output "configuration_name" {
  description = "Name of the endpoint configuration that the endpoint runs; every change makes a new one."
  value       = aws_sagemaker_endpoint.this.endpoint_config_name
}

output "model_name" {
  description = "Name of the SageMaker model behind `variant_name`; it changes with the archive, the image and the environment."
  value       = aws_sagemaker_model.this[keys(local.variants)[0]].name
}

output "model_s3_uri" {
  description = "The model archive behind `variant_name`."
  value       = local.model_s3_uris[keys(local.variants)[0]]
}

output "image" {
  description = "URI of the inference image of `variant_name`."
  value       = local.images[keys(local.variants)[0]]
}

output "log_group_name" {
  description = "Name of the log group of the containers: aws logs tail NAME --follow."
  value       = aws_cloudwatch_log_group.this.name
}

output "role_arn" {
  description = "ARN of the execution role."
  value       = aws_iam_role.this.arn
}

output "role_name" {
  description = "Name of the execution role."
  value       = aws_iam_role.this.name
}
