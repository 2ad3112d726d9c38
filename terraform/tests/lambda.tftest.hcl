mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  function_name = "whippet-test"
  package       = "tests/fixtures/lambda.zip"
  endpoint_name = "whippet-test"
  endpoint_arn  = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/whippet-test"
}

run "role_asks_the_endpoint_and_writes_its_logs_nothing_else" {
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
          Resource = ["arn:aws:logs:us-east-1:123456789012:log-group:mock-log-group:*"]
        },
      ]
    }
    error_message = "The role has exactly these two statements."
  }

  assert {
    condition     = jsondecode(aws_iam_role.this.assume_role_policy).Statement[0].Principal == { Service = "lambda.amazonaws.com" }
    error_message = "Lambda alone may take the role."
  }
}

run "function_is_the_decided_one" {
  module {
    source = "./modules/lambda"
  }

  assert {
    condition     = aws_lambda_function.this.handler == "whippet_lambda.handler.handler" && aws_lambda_function.this.runtime == "python3.12"
    error_message = "Handler and runtime."
  }

  assert {
    condition     = aws_lambda_function.this.memory_size == 256 && aws_lambda_function.this.timeout == 30 && aws_lambda_function.this.reserved_concurrent_executions == 5
    error_message = "256 MB, 30 s, reserved concurrency 5."
  }

  assert {
    condition     = one(aws_lambda_function.this.environment).variables == tomap({ WHIPPET_ENDPOINT_NAME = "whippet-test", WHIPPET_ALLOWED_URL_HOSTS = "" })
    error_message = "The function knows its endpoint, and fetches no URLs."
  }

  assert {
    condition     = aws_lambda_function.this.source_code_hash == filebase64sha256("tests/fixtures/lambda.zip")
    error_message = "New bytes deploy."
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.name == "/aws/lambda/whippet-test"
    error_message = "The log group is the one that Lambda writes to."
  }

  assert {
    condition     = output.function_url == null
    error_message = "There is no URL unless asked for."
  }
}

run "photos_in_s3_add_one_read_statement" {
  module {
    source = "./modules/lambda"
  }

  variables {
    photo_read_arns = ["arn:aws:s3:::photos/inbox/*"]
  }

  assert {
    condition = slice(jsondecode(aws_iam_role_policy.this.policy).Statement, 2, 3) == [{
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

run "allowed_hosts_reach_the_function" {
  module {
    source = "./modules/lambda"
  }

  variables {
    allowed_url_hosts = ["images.example.org", "*.example.com"]
  }

  assert {
    condition     = one(aws_lambda_function.this.environment).variables["WHIPPET_ALLOWED_URL_HOSTS"] == "images.example.org,*.example.com"
    error_message = "Comma-separated, as the handler reads them."
  }
}

run "function_url_asks_for_signed_requests" {
  module {
    source = "./modules/lambda"
  }

  variables {
    create_function_url = true
  }

  assert {
    condition     = aws_lambda_function_url.this[0].authorization_type == "AWS_IAM"
    error_message = "An open URL is never made."
  }
}

run "no_reservation_is_no_limit" {
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

run "package_that_is_no_zip_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    package = "tests/fixtures/model.tar.gz"
  }

  expect_failures = [var.package]
}

run "any_endpoint_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    endpoint_arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/*"
  }

  expect_failures = [var.endpoint_arn]
}

run "old_runtime_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    runtime = "python3.8"
  }

  expect_failures = [var.runtime]
}

run "unknown_architecture_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    architecture = "x86"
  }

  expect_failures = [var.architecture]
}

run "too_little_memory_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    memory_size = 64
  }

  expect_failures = [var.memory_size]
}

run "too_long_a_timeout_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    timeout = 901
  }

  expect_failures = [var.timeout]
}

run "reserved_concurrency_0_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    reserved_concurrency = 0
  }

  expect_failures = [var.reserved_concurrency]
}

run "url_instead_of_a_host_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    allowed_url_hosts = ["https://example.org"]
  }

  expect_failures = [var.allowed_url_hosts]
}

run "wildcard_of_a_whole_top_level_domain_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    allowed_url_hosts = ["*.org"]
  }

  expect_failures = [var.allowed_url_hosts]
}

run "ip_address_instead_of_a_host_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    allowed_url_hosts = ["169.254.169.254"]
  }

  expect_failures = [var.allowed_url_hosts]
}

run "all_buckets_are_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    photo_read_arns = ["arn:aws:s3:::*"]
  }

  expect_failures = [var.photo_read_arns]
}

run "function_name_with_a_space_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    function_name = "my function"
  }

  expect_failures = [var.function_name]
}

run "retention_that_cloudwatch_does_not_know_is_refused" {
  command = plan

  module {
    source = "./modules/lambda"
  }

  variables {
    log_retention_days = 2
  }

  expect_failures = [var.log_retention_days]
}
