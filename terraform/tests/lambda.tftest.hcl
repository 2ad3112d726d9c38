mock_provider "aws" {
  source = "./tests/mocks"

  mock_data "aws_region" {
    defaults = { id = "us-east-1" }
  }

  mock_resource "aws_lambda_alias" {
    defaults = { arn = "arn:aws:lambda:us-east-1:123456789012:function:whippet-test:live" }
  }

  mock_resource "aws_lambda_code_signing_config" {
    defaults = { arn = "arn:aws:lambda:us-east-1:123456789012:code-signing-config:csc-0123456789abcdef0" }
  }
}

variables {
  function_name = "whippet-test"
  package       = "tests/fixtures/lambda.zip"
  endpoint_name = "whippet-test"
}

run "role_asks_the_endpoint_and_writes_its_logs_nothing_else" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.this.policy) == {
      Version = "2012-10-17"
      Statement = [
        {
          Sid      = "AskEndpoint"
          Effect   = "Allow"
          Action   = ["sagemaker:InvokeEndpoint"]
          Resource = ["arn:aws:sagemaker:us-east-1:123456789012:endpoint/whippet-test"]
        },
        {
          Sid      = "WriteLogs"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = ["arn:aws:logs:us-east-1:123456789012:log-group:/aws/lambda/whippet-test:*"]
        },
      ]
    }
    error_message = "The role has exactly these two statements."
  }

  assert {
    condition = jsondecode(aws_iam_role.this.assume_role_policy).Statement == [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = "123456789012" } }
    }]
    error_message = "Lambda alone may take the role, for this account."
  }

  assert {
    condition     = length(aws_lambda_function_event_invoke_config.this) == 0 && length(aws_sqs_queue.failed) == 0
    error_message = "Without asynchronous Lambda keeps its own settings, and there is no queue."
  }
}

run "role_of_a_function_that_holds_the_model_writes_its_logs_alone" {
  command = plan

  variables {
    endpoint_name = null
    package_s3    = { bucket = "whippet-test-code", key = "lambda/0123456789abcdef/lambda.zip" }
  }

  module {
    source = "./modules/lambda"
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.this.policy).Statement == [{
      Sid      = "WriteLogs"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = ["arn:aws:logs:us-east-1:123456789012:log-group:/aws/lambda/whippet-test:*"]
    }]
    error_message = "Without an endpoint the role may invoke none."
  }

  assert {
    condition     = one(aws_lambda_function.this.environment).variables == tomap({ WHIPPET_MODEL_DIR = "model", WHIPPET_ALLOWED_URL_HOSTS = "", WHIPPET_METRICS_NAMESPACE = "" })
    error_message = "The function knows where its model lies, and no endpoint."
  }

  assert {
    condition     = aws_lambda_function.this.filename == null && aws_lambda_function.this.s3_bucket == "whippet-test-code" && aws_lambda_function.this.s3_key == "lambda/0123456789abcdef/lambda.zip" && aws_lambda_function.this.source_code_hash == filebase64sha256("tests/fixtures/lambda.zip")
    error_message = "Lambda takes the package out of S3, and new bytes deploy."
  }
}

run "a_condition_on_asking_an_endpoint_needs_one" {
  command = plan

  variables {
    endpoint_name    = null
    invoke_condition = { StringEquals = { "aws:SourceVpc" = ["vpc-1"] } }
  }

  module {
    source = "./modules/lambda"
  }

  expect_failures = [aws_lambda_function.this]
}

run "function_is_the_decided_one" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  assert {
    condition     = aws_lambda_function.this.handler == "whippet_lambda.handler.handler" && aws_lambda_function.this.runtime == "python3.12" && aws_lambda_function.this.architectures == tolist(["arm64"])
    error_message = "Handler, runtime and processor."
  }

  assert {
    condition     = aws_lambda_function.this.memory_size == 256 && aws_lambda_function.this.timeout == 30 && aws_lambda_function.this.reserved_concurrent_executions == 5
    error_message = "256 MB, 30 s, reserved concurrency 5."
  }

  assert {
    condition     = one(aws_lambda_function.this.environment).variables == tomap({ WHIPPET_ENDPOINT_NAME = "whippet-test", WHIPPET_ALLOWED_URL_HOSTS = "", WHIPPET_METRICS_NAMESPACE = "" })
    error_message = "The function knows its endpoint, and fetches no URLs."
  }

  assert {
    condition     = aws_lambda_function.this.source_code_hash == filebase64sha256("tests/fixtures/lambda.zip") && aws_lambda_function.this.publish
    error_message = "New bytes deploy, as a version."
  }

  assert {
    condition     = aws_lambda_alias.this.name == "live" && output.alias_name == "live"
    error_message = "Callers name the alias."
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.name == "/aws/lambda/whippet-test" && aws_cloudwatch_log_group.this.retention_in_days == 30
    error_message = "The log group is the one that Lambda writes to, and ends."
  }

  assert {
    condition     = output.function_url == null && length(aws_lambda_provisioned_concurrency_config.this) + length(aws_lambda_provisioned_concurrency_config.autoscaled) == 0
    error_message = "No URL and no warm environments unless asked for."
  }

  assert {
    condition     = one(aws_lambda_function.this.tracing_config).mode == "PassThrough" && aws_lambda_function.this.kms_key_arn == null && length(aws_lambda_function.this.vpc_config) == 0 && aws_iam_role.this.permissions_boundary == null
    error_message = "No traces, key, VPC or boundary unless asked for."
  }
}

run "failed_events_go_to_an_encrypted_queue" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    asynchronous = {}
  }

  assert {
    condition     = toset(keys(aws_lambda_function_event_invoke_config.this)) == toset(["$LATEST", "live"])
    error_message = "Calls with and without the alias."
  }

  assert {
    condition     = aws_lambda_function_event_invoke_config.this["live"].destination_config[0].on_failure[0].destination == "arn:aws:sqs:us-east-1:123456789012:whippet-test-failed"
    error_message = "The queue is the destination."
  }

  assert {
    condition     = aws_sqs_queue.failed[0].sqs_managed_sse_enabled && aws_sqs_queue.failed[0].message_retention_seconds == 1209600
    error_message = "Encrypted, kept for 14 days."
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.this.policy).Statement[2] == {
      Sid      = "HandOverFailedEvents"
      Effect   = "Allow"
      Action   = ["sqs:SendMessage"]
      Resource = ["arn:aws:sqs:us-east-1:123456789012:whippet-test-failed"]
    } && length(jsondecode(aws_iam_role_policy.this.policy).Statement) == 3
    error_message = "One statement for the queue."
  }

  assert {
    condition     = jsondecode(aws_sqs_queue.failed[0].policy).Statement[0].Condition == { Bool = { "aws:SecureTransport" = "false" } } && jsondecode(aws_sqs_queue.failed[0].policy).Statement[0].Effect == "Deny"
    error_message = "TLS only."
  }
}

run "failed_events_go_to_a_given_topic" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    asynchronous = { on_failure_arn = "arn:aws:sns:us-east-1:123456789012:failed", maximum_retry_attempts = 0, maximum_event_age_seconds = 60 }
  }

  assert {
    condition     = length(aws_sqs_queue.failed) == 0 && output.failed_events_queue_name == null
    error_message = "No queue of its own."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[2].Action == ["sns:Publish"] && jsondecode(aws_iam_role_policy.this.policy).Statement[2].Resource == ["arn:aws:sns:us-east-1:123456789012:failed"]
    error_message = "The action is the one that the service takes."
  }

  assert {
    condition     = aws_lambda_function_event_invoke_config.this["$LATEST"].maximum_retry_attempts == 0 && aws_lambda_function_event_invoke_config.this["$LATEST"].maximum_event_age_in_seconds == 60
    error_message = "As given."
  }
}

run "photos_in_s3_add_one_read_statement" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    photo_read_arns = ["arn:aws:s3:::photos/inbox/*"]
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement if statement.Sid == "ReadPhotos"] == [{
      Sid      = "ReadPhotos"
      Effect   = "Allow"
      Action   = ["s3:GetObject"]
      Resource = ["arn:aws:s3:::photos/inbox/*"]
    }]
    error_message = "Only the named objects may be read."
  }

  assert {
    condition     = length(jsondecode(aws_iam_role_policy.this.policy).Statement) == 3
    error_message = "Nothing else is added."
  }
}

run "invoke_condition_narrows_the_one_statement" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    invoke_condition = { StringEquals = { "sagemaker:TargetModel" = ["dogs.tar.gz"] } }
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[0].Condition == { StringEquals = { "sagemaker:TargetModel" = ["dogs.tar.gz"] } } && jsondecode(aws_iam_role_policy.this.policy).Statement[0].Action == ["sagemaker:InvokeEndpoint"]
    error_message = "The condition is part of the statement."
  }
}

run "endpoint_arn_is_in_lower_case" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    endpoint_name = "Whippet-Test"
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[0].Resource == ["arn:aws:sagemaker:us-east-1:123456789012:endpoint/whippet-test"] && one(aws_lambda_function.this.environment).variables["WHIPPET_ENDPOINT_NAME"] == "Whippet-Test"
    error_message = "As SageMaker writes it."
  }
}

run "hosts_and_variables_reach_the_function" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    allowed_url_hosts     = ["images.example.org", "*.example.com"]
    environment_variables = { WHIPPET_MAX_PHOTO_BYTES = "4000000" }
    metrics_namespace     = "Whippet"
  }

  assert {
    condition     = one(aws_lambda_function.this.environment).variables["WHIPPET_METRICS_NAMESPACE"] == "Whippet"
    error_message = "The handler writes metrics for it."
  }

  assert {
    condition     = one(aws_lambda_function.this.environment).variables["WHIPPET_ALLOWED_URL_HOSTS"] == "images.example.org,*.example.com"
    error_message = "Comma-separated, as the handler reads them."
  }

  assert {
    condition     = one(aws_lambda_function.this.environment).variables["WHIPPET_MAX_PHOTO_BYTES"] == "4000000"
    error_message = "Beside its own."
  }
}

run "function_url_asks_for_signed_requests" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    function_url = {}
  }

  assert {
    condition     = aws_lambda_function_url.this[0].authorization_type == "AWS_IAM" && aws_lambda_function_url.this[0].qualifier == "live"
    error_message = "Of the alias, and signed."
  }

  assert {
    condition     = length(aws_lambda_permission.public_url) == 0 && length(aws_lambda_function_url.this[0].cors) == 0
    error_message = "Nobody is let in by the function, no browser of another site."
  }
}

run "function_url_without_signatures_is_open_to_all" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    function_url = { authorization = "NONE", cors = { allow_origins = ["https://www.example.org"] } }
  }

  assert {
    condition     = aws_lambda_permission.public_url[0].action == "lambda:InvokeFunctionUrl" && aws_lambda_permission.public_url[0].principal == "*" && aws_lambda_permission.public_url[0].function_url_auth_type == "NONE" && aws_lambda_permission.public_url[0].qualifier == "live"
    error_message = "By URL only."
  }

  assert {
    condition     = aws_lambda_function_url.this[0].cors[0].allow_methods == toset(["POST"]) && aws_lambda_function_url.this[0].cors[0].allow_origins == toset(["https://www.example.org"])
    error_message = "Photos are posted."
  }
}

run "no_reservation_is_no_limit" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    reserved_concurrency = -1
  }

  assert {
    condition     = output.reserved_concurrency == null
    error_message = "-1 means no limit, so scaling cannot count on one."
  }
}

run "provisioned_concurrency_is_fixed_without_a_maximum" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    provisioned_concurrency = { min = 2 }
  }

  assert {
    condition     = aws_lambda_provisioned_concurrency_config.this[0].provisioned_concurrent_executions == 2 && aws_lambda_provisioned_concurrency_config.this[0].qualifier == "live"
    error_message = "Two, on the alias."
  }

  assert {
    condition     = length(aws_appautoscaling_target.this) == 0 && length(aws_appautoscaling_policy.this) == 0
    error_message = "Nothing scales."
  }
}

run "provisioned_concurrency_follows_its_utilization" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    provisioned_concurrency = { min = 1, max = 4, target_utilization = 0.6 }
  }

  assert {
    condition     = length(aws_lambda_provisioned_concurrency_config.this) == 0 && aws_lambda_provisioned_concurrency_config.autoscaled[0].provisioned_concurrent_executions == 1
    error_message = "It starts with the fewest."
  }

  assert {
    condition     = aws_appautoscaling_target.this[0].resource_id == "function:whippet-test:live" && aws_appautoscaling_target.this[0].min_capacity == 1 && aws_appautoscaling_target.this[0].max_capacity == 4 && aws_appautoscaling_target.this[0].scalable_dimension == "lambda:function:ProvisionedConcurrency"
    error_message = "The alias is what scales."
  }

  assert {
    condition     = aws_appautoscaling_policy.this[0].target_tracking_scaling_policy_configuration[0].target_value == 0.6 && aws_appautoscaling_policy.this[0].target_tracking_scaling_policy_configuration[0].predefined_metric_specification[0].predefined_metric_type == "LambdaProvisionedConcurrencyUtilization"
    error_message = "By utilization."
  }
}

run "quota_that_is_high_enough_passes" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    account_concurrency_quota = 105
  }

  assert {
    condition     = aws_lambda_function.this.reserved_concurrent_executions == 5
    error_message = "100 of 105 stay unreserved."
  }
}

run "own_key_encrypts_and_is_limited_by_context" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    kms_key_arn       = "arn:aws:kms:us-east-1:123456789012:key/1"
    encrypt_variables = true
    asynchronous      = {}
  }

  assert {
    condition     = aws_lambda_function.this.kms_key_arn == var.kms_key_arn && aws_cloudwatch_log_group.this.kms_key_id == var.kms_key_arn && aws_sqs_queue.failed[0].kms_master_key_id == var.kms_key_arn
    error_message = "Variables, logs and queue."
  }

  assert {
    condition = slice(jsondecode(aws_iam_role_policy.this.policy).Statement, 3, 5) == [
      {
        Sid       = "DecryptEnvironment"
        Effect    = "Allow"
        Action    = ["kms:Decrypt"]
        Resource  = ["arn:aws:kms:us-east-1:123456789012:key/1"]
        Condition = { StringEquals = { "kms:EncryptionContext:aws:lambda:FunctionArn" = "arn:aws:lambda:us-east-1:123456789012:function:whippet-test" } }
      },
      {
        Sid       = "EncryptFailedEvents"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = ["arn:aws:kms:us-east-1:123456789012:key/1"]
        Condition = { StringEquals = { "kms:ViaService" = "sqs.us-east-1.amazonaws.com" } }
      },
    ]
    error_message = "For this function only, and for the queue only."
  }
}

run "key_of_the_same_apply_is_named_by_its_alias" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    kms_key_arn       = "arn:aws:kms:us-east-1:123456789012:key/1"
    kms_key_alias     = "alias/whippet-test"
    encrypt_variables = true
    asynchronous      = {}
  }

  assert {
    condition     = alltrue([for statement in slice(jsondecode(aws_iam_role_policy.this.policy).Statement, 3, 5) : statement.Resource == ["arn:aws:kms:us-east-1:123456789012:key/*"] && statement.Condition["ForAnyValue:StringEquals"] == { "kms:ResourceAliases" = ["alias/whippet-test"] }])
    error_message = "The plan knows the alias."
  }
}

run "traces_are_sent_on_request" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    enable_xray = true
  }

  assert {
    condition     = one(aws_lambda_function.this.tracing_config).mode == "Active"
    error_message = "X-Ray samples."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[2].Action == ["xray:PutTelemetryRecords", "xray:PutTraceSegments"] && jsondecode(aws_iam_role_policy.this.policy).Statement[2].Resource == ["*"]
    error_message = "AWS has nothing narrower."
  }
}

run "vpc_is_for_lambda_not_for_the_code" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    vpc = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] }
  }

  assert {
    condition     = aws_lambda_function.this.vpc_config[0].subnet_ids == toset(["subnet-1"]) && aws_lambda_function.this.vpc_config[0].security_group_ids == toset(["sg-1"])
    error_message = "As given."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[2].Resource == ["arn:aws:ec2:us-east-1:123456789012:subnet/subnet-1", "arn:aws:ec2:us-east-1:123456789012:security-group/sg-1", "arn:aws:ec2:us-east-1:123456789012:network-interface/*"]
    error_message = "Interfaces in these subnets and groups only."
  }

  assert {
    condition     = [for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement.Sid if contains(statement.Resource, "*")] == ["FindNetworkInterfaces", "KeepNetworkFromCode"]
    error_message = "Only what EC2 cannot scope."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[5].Effect == "Deny" && jsondecode(aws_iam_role_policy.this.policy).Statement[5].Condition == { ArnEquals = { "lambda:SourceFunctionArn" = ["arn:aws:lambda:us-east-1:123456789012:function:whippet-test"] } }
    error_message = "The code itself may do none of it."
  }
}

run "signed_code_only_on_request" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    code_signing = { signing_profile_version_arns = ["arn:aws:signer:us-east-1:123456789012:/signing-profiles/whippet/abcdef1234"] }
  }

  assert {
    condition     = aws_lambda_code_signing_config.this[0].policies[0].untrusted_artifact_on_deployment == "Enforce"
    error_message = "Other code is refused."
  }
}

run "boundary_is_set" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/boundary"
  }

  assert {
    condition     = aws_iam_role.this.permissions_boundary == var.permissions_boundary_arn
    error_message = "On the role."
  }
}

run "missing_zip_is_named" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    package = "tests/fixtures/none.zip"
  }

  expect_failures = [aws_lambda_function.this]
}

run "reservation_above_the_quota_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    account_concurrency_quota = 104
  }

  expect_failures = [aws_lambda_function.this]
}

run "provisioned_concurrency_above_the_quota_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    account_concurrency_quota = 50
    reserved_concurrency      = -1
    provisioned_concurrency   = { min = 1 }
  }

  expect_failures = [aws_lambda_function.this]
}

run "one_wrong_value_of_each_variable_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    # package that is no zip
    package = "tests/fixtures/model.tar.gz"
    # any endpoint
    endpoint_name = "*"
    # condition on a variant
    invoke_condition = { StringEquals = { "sagemaker:TargetVariant" = ["blue"] } }
    # variable that the module sets
    environment_variables = { WHIPPET_ENDPOINT_NAME = "other" }
    # old runtime
    runtime = "python3.8"
    # unknown architecture
    architecture = "x86"
    # too little memory
    memory_size = 64
    # too long a timeout
    timeout = 901
    # reserved concurrency 0
    reserved_concurrency = 0
    # quota of 0
    account_concurrency_quota = 0
    # url instead of a host
    allowed_url_hosts = ["https://example.org"]
    # all buckets
    photo_read_arns = ["arn:aws:s3:::*"]
    # function name with a space
    function_name = "my function"
    # alias that is a number
    alias = "1"
    # unknown authorization
    function_url = { authorization = "JWT" }
    # bucket as destination
    asynchronous = { on_failure_arn = "arn:aws:s3:::failed" }
    # vpc without a security group
    vpc = { subnet_ids = ["subnet-1"], security_group_ids = [] }
    # alias as key
    kms_key_arn = "alias/whippet"
    # key as alias
    kms_key_alias = "whippet"
    # signing by nobody
    code_signing = { signing_profile_version_arns = [] }
    # role as boundary
    permissions_boundary_arn = "arn:aws:iam::123456789012:role/boundary"
    # retention that cloudwatch does not know
    log_retention_days = 2
  }

  expect_failures = [
    var.package,
    var.endpoint_name,
    var.invoke_condition,
    var.environment_variables,
    var.runtime,
    var.architecture,
    var.memory_size,
    var.timeout,
    var.reserved_concurrency,
    var.account_concurrency_quota,
    var.allowed_url_hosts,
    var.photo_read_arns,
    var.function_name,
    var.alias,
    var.function_url,
    var.asynchronous,
    var.vpc,
    var.kms_key_arn,
    var.kms_key_alias,
    var.code_signing,
    var.permissions_boundary_arn,
    var.log_retention_days,
  ]
}

run "another_wrong_value_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    # variable that lambda sets
    environment_variables = { AWS_REGION = "eu-west-1" }
    # no provisioned environment
    provisioned_concurrency = { min = 0 }
    # wildcard of a whole top level domain
    allowed_url_hosts = ["*.org"]
    # any origin
    function_url = { cors = { allow_origins = ["*"] } }
    # queue that keeps for a month
    asynchronous = { queue_retention_days = 30 }
    # unknown signing policy
    code_signing = { signing_profile_version_arns = ["arn:aws:signer:us-east-1:123456789012:/signing-profiles/whippet/abcdef1234"], untrusted_artifact = "Ignore" }
  }

  expect_failures = [
    var.environment_variables,
    var.provisioned_concurrency,
    var.allowed_url_hosts,
    var.function_url,
    var.asynchronous,
    var.code_signing,
  ]
}

run "a_third_wrong_value_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    # provisioned maximum below the minimum
    provisioned_concurrency = { min = 3, max = 2 }
    # ip address instead of a host
    allowed_url_hosts = ["169.254.169.254"]
    # a namespace that AWS keeps for itself
    metrics_namespace = "AWS/Lambda"
    # unknown method
    function_url = { cors = { allow_origins = ["https://example.org"], allow_methods = ["OPTIONS"] } }
    # three retries
    asynchronous = { maximum_retry_attempts = 3 }
  }

  expect_failures = [
    var.provisioned_concurrency,
    var.allowed_url_hosts,
    var.metrics_namespace,
    var.function_url,
    var.asynchronous,
  ]
}

run "a_fourth_wrong_value_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    # provisioned above reserved concurrency
    provisioned_concurrency = { min = 1, max = 6 }
    # preflight answer for more than a day
    function_url = { cors = { allow_origins = ["https://example.org"], max_age_seconds = 86401 } }
    # event age under a minute
    asynchronous = { maximum_event_age_seconds = 30 }
  }

  expect_failures = [
    var.provisioned_concurrency,
    var.function_url,
    var.asynchronous,
  ]
}

run "a_fifth_wrong_value_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    # utilization in percent
    provisioned_concurrency = { min = 1, max = 2, target_utilization = 70 }
  }

  expect_failures = [
    var.provisioned_concurrency,
  ]
}

run "a_sixth_wrong_value_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    # negative cooldown
    provisioned_concurrency = { min = 1, max = 2, scale_in_cooldown = -1 }
  }

  expect_failures = [
    var.provisioned_concurrency,
  ]
}

run "key_leaves_the_variables_alone_unless_asked" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    asynchronous = null
    kms_key_arn  = "arn:aws:kms:us-east-1:123456789012:key/1"
  }

  assert {
    condition     = aws_lambda_function.this.kms_key_arn == null && aws_cloudwatch_log_group.this.kms_key_id == var.kms_key_arn && !strcontains(aws_iam_role_policy.this.policy, "kms:")
    error_message = "The key encrypts the logs, and the role needs no permission for that."
  }
}

run "encrypting_variables_without_a_key_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    encrypt_variables = true
  }

  expect_failures = [var.encrypt_variables]
}
