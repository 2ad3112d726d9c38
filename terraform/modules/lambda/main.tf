data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.id

  # Known in the plan, unlike what AWS computes, so that the plan shows each policy in full.
  function_arn = "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${var.function_name}"
  log_group    = "/aws/lambda/${var.function_name}"

  # scripts/build_single_hop.py puts the model into this folder of the package.
  answered_by = var.endpoint_name == null ? { WHIPPET_MODEL_DIR = "model" } : { WHIPPET_ENDPOINT_NAME = var.endpoint_name }

  # What the function takes of the account's concurrency, and what the account can give: Lambda keeps 100 for functions
  # that reserve nothing. https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html#reserved-and-provisioned
  claimed_concurrency   = max(var.reserved_concurrency, try(local.provisioned.max, 0), 0)
  claimable_concurrency = max(coalesce(var.account_concurrency_quota, 1000) - 100, 0)
}

# Made here, not by Lambda, so that it has a retention, goes with the function, and its role need not create it.
resource "aws_cloudwatch_log_group" "this" {
  # checkov:skip=CKV_AWS_338:Retention is the caller's choice (log_retention_days); prod keeps a year, dev a week
  # checkov:skip=CKV_AWS_158:CloudWatch Logs encrypts every log group; an own key is the caller's choice (kms_key_arn)
  name              = local.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_lambda_function" "this" {
  # checkov:skip=CKV_AWS_116:Failed events go to the on-failure destination (var.asynchronous), which tells more than a dead-letter queue
  # checkov:skip=CKV_AWS_117:The function asks AWS's own API only; a VPC is the caller's choice (var.vpc)
  # checkov:skip=CKV_AWS_173:Lambda encrypts the variables, which hold no secret; an own key is the caller's choice (encrypt_variables)
  # checkov:skip=CKV_AWS_272:Signing needs a signing profile of the account; it is the caller's choice (var.code_signing)
  # checkov:skip=CKV_AWS_50:Tracing costs per request and is the caller's choice (enable_xray)
  function_name = var.function_name
  description   = "Answers with the breed of the dog in a photo, by ${var.endpoint_name == null ? "the model in its package" : "the SageMaker endpoint ${var.endpoint_name}"}"
  role          = aws_iam_role.this.arn

  filename                = var.package_s3 == null ? var.package : null
  s3_bucket               = try(var.package_s3.bucket, null)
  s3_key                  = try(var.package_s3.key, null)
  source_code_hash        = fileexists(var.package) ? filebase64sha256(var.package) : null
  handler                 = var.handler
  runtime                 = var.runtime
  architectures           = [var.architecture]
  code_signing_config_arn = one(aws_lambda_code_signing_config.this[*].arn)

  memory_size                    = var.memory_size
  timeout                        = var.timeout
  reserved_concurrent_executions = var.reserved_concurrency
  kms_key_arn                    = var.encrypt_variables ? var.kms_key_arn : null

  # Every change of code or settings becomes a version; the alias moves to it when it is ready.
  publish = true

  environment {
    variables = merge(var.environment_variables, local.answered_by, {
      WHIPPET_ALLOWED_URL_HOSTS = join(",", var.allowed_url_hosts)
      WHIPPET_METRICS_NAMESPACE = var.metrics_namespace
    })
  }

  tracing_config {
    mode = var.enable_xray ? "Active" : "PassThrough"
  }

  dynamic "vpc_config" {
    for_each = var.vpc[*]

    content {
      subnet_ids         = vpc_config.value.subnet_ids
      security_group_ids = vpc_config.value.security_group_ids
    }
  }

  depends_on = [aws_cloudwatch_log_group.this, aws_iam_role_policy.this]

  lifecycle {
    precondition {
      condition     = fileexists(var.package)
      error_message = "${var.package} does not exist. Build it first: `python scripts/${var.endpoint_name == null ? "build_single_hop.py --architecture ${var.architecture}" : "build_lambda.py"}`."
    }

    precondition {
      condition     = var.invoke_condition == null || var.endpoint_name != null
      error_message = "invoke_condition needs endpoint_name: without an endpoint there is nothing to invoke."
    }

    precondition {
      condition = var.account_concurrency_quota == null || local.claimed_concurrency <= local.claimable_concurrency
      error_message = join(" ", [
        "${var.function_name} asks for ${local.claimed_concurrency} of the account's concurrency, but of a quota of",
        "${coalesce(var.account_concurrency_quota, 0)} AWS lets functions claim ${local.claimable_concurrency}: it keeps 100 for functions without a reservation.",
        "Ask for a higher quota (`aws service-quotas request-service-quota-increase --service-code lambda --quota-code",
        "L-B99A9384 --desired-value 1000`), or set reserved_concurrency = -1 and provisioned_concurrency = null.",
      ])
    }
  }
}

# What callers name. It outlives versions, so that neither their policies nor the URL change with a deployment.
resource "aws_lambda_alias" "this" {
  name             = var.alias
  description      = "The version in service"
  function_name    = aws_lambda_function.this.function_name
  function_version = aws_lambda_function.this.version
}

# Lambda refuses code that none of these profiles has signed (Enforce), or takes it and logs (Warn).
resource "aws_lambda_code_signing_config" "this" {
  count = var.code_signing == null ? 0 : 1

  description = "Who may sign the code of ${var.function_name}"

  allowed_publishers {
    signing_profile_version_arns = var.code_signing.signing_profile_version_arns
  }

  policies {
    untrusted_artifact_on_deployment = var.code_signing.untrusted_artifact
  }
}
