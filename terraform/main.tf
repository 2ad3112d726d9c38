data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}

locals {
  # Tells deployments in one account apart.
  name = "${var.name}-${var.environment}"

  # Written out, not read from the endpoint, so that a plan shows every policy in full.
  endpoint_arn = "arn:${data.aws_partition.this.partition}:sagemaker:${var.region}:${data.aws_caller_identity.this.account_id}:endpoint/${local.name}"

  # Topics that hear of alarms.
  alarm_actions = concat(var.alarm_actions, module.observability.topic_arn[*])

  has_endpoint = !var.single_hop
  serverless   = var.endpoint_serverless != null
  has_scaling  = local.has_endpoint && !local.serverless # SageMaker scales a serverless endpoint itself
  # All variants are this one; autoscaling and alarms name it.
  variant_name = "AllTraffic"

  lambda_zip = coalesce(var.lambda_zip, var.single_hop ? "../build/lambda-single-hop-${var.lambda_architecture}.zip" : "../build/lambda.zip")
  # Lambda gives 1769 MB a whole processor, which the network takes; asking an endpoint is waiting.
  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
  lambda_memory_size = coalesce(var.lambda_memory_size, var.single_hop ? 1769 : 256)
}

module "artifacts" {
  source = "./modules/artifacts"

  name             = local.name
  create_kms_key   = var.create_kms_key
  kms_key_arn      = var.kms_key_arn
  force_destroy    = var.artifacts_force_destroy
  retention_days   = var.artifacts_retention_days
  model_archive    = local.has_endpoint ? var.model_archive : null
  training_package = var.training_package
  lambda_package   = local.has_endpoint ? null : local.lambda_zip
}

module "training_instance" {
  source = "./modules/training_instance"
  count  = var.create_training_instance ? 1 : 0

  name                     = local.name
  bucket                   = module.artifacts.buckets["models"]
  training_package_s3_uri  = module.artifacts.training_package_s3_uri
  instance_type            = var.training_instance_type
  ami_family               = var.training_ami_family
  ami_id                   = var.training_ami_id
  hyperparameters          = var.training_hyperparameters
  spot                     = var.training_spot
  time_limit_minutes       = var.training_time_limit_minutes
  session_manager          = var.training_session_manager
  train_on_apply           = var.training_on_apply
  vpc                      = var.vpc == null ? null : { id = var.vpc.id, subnet_ids = var.vpc.subnet_ids }
  kms_key_arn              = module.artifacts.kms_key_arn
  kms_key_alias            = module.artifacts.kms_key_alias
  log_retention_days       = var.log_retention_days
  alarm_actions            = local.alarm_actions
  permissions_boundary_arn = var.permissions_boundary_arn
}

module "notebook" {
  source = "./modules/notebook"
  count  = var.create_notebook ? 1 : 0

  name           = local.name
  instance_type  = var.notebook_instance_type
  idle_minutes   = var.notebook_idle_minutes
  bucket         = module.artifacts.buckets["models"]
  endpoint_arn   = local.has_endpoint ? local.endpoint_arn : null
  notebook_files = [for file in var.notebook_files : file if fileexists(file)]

  subnet_id          = try(var.vpc.subnet_ids[0], null)
  security_group_ids = try(var.vpc.security_group_ids, null)

  kms_key_arn              = module.artifacts.kms_key_arn
  kms_key_alias            = module.artifacts.kms_key_alias
  permissions_boundary_arn = var.permissions_boundary_arn
}

module "endpoint" {
  source = "./modules/endpoint"
  count  = local.has_endpoint ? 1 : 0

  name                   = local.name
  variant_name           = local.variant_name
  model_s3_uri           = module.artifacts.model_s3_uri
  model_objects_arn      = "${module.artifacts.bucket_arns["models"]}/models/*"
  image                  = var.inference_image
  environment            = var.inference_environment
  network_isolation      = var.inference_network_isolation
  instance_type          = var.endpoint_instance_type
  initial_instance_count = coalesce(var.endpoint_initial_instance_count, var.autoscaling_min_capacity)
  serverless             = var.endpoint_serverless
  vpc                    = local.serverless || var.vpc == null ? null : { subnet_ids = var.vpc.subnet_ids, security_group_ids = var.vpc.security_group_ids }

  data_capture = var.endpoint_data_capture == null ? null : merge(var.endpoint_data_capture, {
    destination_s3_uri = "s3://${module.artifacts.buckets["data_capture"]}/endpoints"
  })

  # The alarms are there before the first update that they may roll back.
  deployment = var.endpoint_deployment == null ? null : merge(var.endpoint_deployment, {
    rollback_alarm_names = var.endpoint_deployment.rollback ? module.observability.rollback_alarm_names : []
  })

  kms_key_arn              = module.artifacts.kms_key_arn
  kms_key_alias            = module.artifacts.kms_key_alias
  log_retention_days       = var.log_retention_days
  permissions_boundary_arn = var.permissions_boundary_arn
}

module "autoscaling" {
  source = "./modules/autoscaling"
  count  = local.has_scaling ? 1 : 0

  endpoint_name      = module.endpoint[0].name
  variant_name       = module.endpoint[0].variant_name
  instance_type      = var.endpoint_instance_type
  min_capacity       = var.autoscaling_min_capacity
  max_capacity       = var.autoscaling_max_capacity
  metric             = var.autoscaling_metric
  target_value       = var.autoscaling_target_value
  scale_in_cooldown  = var.autoscaling_scale_in_cooldown
  scale_out_cooldown = var.autoscaling_scale_out_cooldown
  scheduled_actions  = var.autoscaling_scheduled_actions
  caller_concurrency = var.lambda_reserved_concurrency == -1 ? null : var.lambda_reserved_concurrency
}

module "lambda" {
  source = "./modules/lambda"

  function_name = local.name
  package       = local.lambda_zip
  package_s3    = module.artifacts.lambda_package
  # Read from the endpoint, so that no version of the function asks one that is not there yet.
  endpoint_name             = one(module.endpoint[*].name)
  architecture              = var.lambda_architecture
  memory_size               = local.lambda_memory_size
  timeout                   = var.lambda_timeout
  reserved_concurrency      = var.lambda_reserved_concurrency
  provisioned_concurrency   = var.lambda_provisioned_concurrency
  account_concurrency_quota = var.lambda_account_concurrency_quota
  allowed_url_hosts         = var.lambda_allowed_url_hosts
  metrics_namespace         = var.lambda_metrics_namespace
  photo_read_arns           = var.lambda_photo_read_arns
  function_url              = var.lambda_function_url
  asynchronous              = var.lambda_asynchronous
  enable_xray               = var.lambda_enable_xray
  code_signing              = var.lambda_code_signing
  vpc                       = var.vpc == null ? null : { subnet_ids = var.vpc.subnet_ids, security_group_ids = var.vpc.security_group_ids }
  kms_key_arn               = module.artifacts.kms_key_arn
  kms_key_alias             = module.artifacts.kms_key_alias
  log_retention_days        = var.log_retention_days
  permissions_boundary_arn  = var.permissions_boundary_arn
}

# Function and endpoint are named, not referred to: the endpoint waits for these alarms, which may roll it back.
module "observability" {
  source = "./modules/observability"

  name                   = local.name
  function_name          = local.name
  function_timeout       = var.lambda_timeout
  endpoint_name          = local.has_endpoint ? local.name : null
  variant_name           = local.variant_name
  endpoint_has_instances = !local.serverless
  endpoint_max_instances = !local.has_scaling || var.autoscaling_min_capacity == var.autoscaling_max_capacity ? null : var.autoscaling_max_capacity
  endpoint_vcpus         = var.endpoint_vcpus
  alarms                 = var.alarms
  alarm_actions          = var.alarm_actions
  topic                  = var.alarm_emails == null ? null : { emails = var.alarm_emails }
  create_dashboard       = var.create_dashboard
  budget                 = var.budget
  kms_key_arn            = module.artifacts.kms_key_arn
}

module "github_oidc" {
  source = "./modules/github_oidc"
  count  = var.github == null ? 0 : 1

  name            = local.name
  resource_tags   = { Project = var.name, Environment = var.environment }
  repository      = try(var.github.repository, "")
  environments    = [try(coalesce(var.github.environment, var.environment), "")]
  create_provider = try(var.github.create_provider, true)
  state           = try(var.github.state, null)

  parts = concat(
    ["artifacts", "lambda", "observability"],
    local.has_endpoint ? ["endpoint"] : [],
    local.has_scaling ? ["autoscaling"] : [],
    var.create_notebook ? ["notebook"] : [],
    var.create_training_instance ? ["training_instance"] : [],
  )

  kms_key_arns             = compact([var.kms_key_arn])
  stack_boundary_arn       = var.permissions_boundary_arn
  permissions_boundary_arn = try(var.github.permissions_boundary_arn, null)
}
