data "aws_caller_identity" "this" {}

locals {
  # Tells deployments in one account apart.
  name = "${var.name}-${var.environment}"
}

module "artifacts" {
  source = "./modules/artifacts"

  bucket           = "${local.name}-${data.aws_caller_identity.this.account_id}"
  force_destroy    = var.artifacts_force_destroy
  model_archive    = var.model_archive
  training_package = var.training_package
}

module "training_instance" {
  source = "./modules/training_instance"
  count  = var.create_training_instance ? 1 : 0

  name                    = local.name
  region                  = var.region
  instance_type           = var.training_instance_type
  ami_id                  = var.training_ami_id
  bucket                  = module.artifacts.bucket
  training_package_s3_uri = module.artifacts.training_package_s3_uri
  hyperparameters         = var.training_hyperparameters
  session_manager         = var.training_session_manager
}

module "notebook" {
  source = "./modules/notebook"
  count  = var.create_notebook ? 1 : 0

  name          = local.name
  instance_type = var.notebook_instance_type
  bucket        = module.artifacts.bucket
  endpoint_arn  = module.endpoint.arn
}

module "endpoint" {
  source = "./modules/endpoint"

  name                   = local.name
  model_s3_uri           = module.artifacts.model_s3_uri
  model_objects_arn      = "${module.artifacts.bucket_arn}/models/*"
  image                  = var.inference_image
  environment            = var.inference_environment
  network_isolation      = var.inference_network_isolation
  instance_type          = var.endpoint_instance_type
  initial_instance_count = var.autoscaling_min_capacity
  log_retention_days     = var.log_retention_days
}

module "autoscaling" {
  source = "./modules/autoscaling"

  endpoint_name      = module.endpoint.name
  variant_name       = module.endpoint.variant_name
  min_capacity       = var.autoscaling_min_capacity
  max_capacity       = var.autoscaling_max_capacity
  metric             = var.autoscaling_metric
  target_value       = var.autoscaling_target_value
  scale_in_cooldown  = var.autoscaling_scale_in_cooldown
  scale_out_cooldown = var.autoscaling_scale_out_cooldown
  caller_concurrency = module.lambda.reserved_concurrency
}

module "lambda" {
  source = "./modules/lambda"

  function_name        = local.name
  package              = var.lambda_zip
  endpoint_name        = module.endpoint.name
  endpoint_arn         = module.endpoint.arn
  architecture         = var.lambda_architecture
  memory_size          = var.lambda_memory_size
  timeout              = var.lambda_timeout
  reserved_concurrency = var.lambda_reserved_concurrency
  allowed_url_hosts    = var.lambda_allowed_url_hosts
  photo_read_arns      = var.lambda_photo_read_arns
  create_function_url  = var.lambda_create_function_url
  log_retention_days   = var.log_retention_days
}

module "observability" {
  source = "./modules/observability"

  name          = local.name
  function_name = module.lambda.function_name
  endpoint_name = module.endpoint.name
  variant_name  = module.endpoint.variant_name
  alarm_actions = var.alarm_actions
}
