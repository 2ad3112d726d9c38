# Made here, not by Lambda, so that it has a retention, goes with the function, and its role need not create it.
resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${var.function_name}"
  retention_in_days = var.log_retention_days
}

resource "aws_lambda_function" "this" {
  function_name = var.function_name
  description   = "Answers with the breed of the dog in a photo, by the SageMaker endpoint ${var.endpoint_name}"
  role          = aws_iam_role.this.arn

  filename         = var.package
  source_code_hash = fileexists(var.package) ? filebase64sha256(var.package) : null
  handler          = var.handler
  runtime          = var.runtime
  architectures    = [var.architecture]

  memory_size                    = var.memory_size
  timeout                        = var.timeout
  reserved_concurrent_executions = var.reserved_concurrency

  environment {
    variables = {
      WHIPPET_ENDPOINT_NAME     = var.endpoint_name
      WHIPPET_ALLOWED_URL_HOSTS = join(",", var.allowed_url_hosts)
    }
  }

  depends_on = [aws_cloudwatch_log_group.this, aws_iam_role_policy.this]

  lifecycle {
    precondition {
      condition     = fileexists(var.package)
      error_message = "${var.package} does not exist. Build it first: `python scripts/build_lambda.py`."
    }
  }
}

resource "aws_lambda_function_url" "this" {
  count = var.create_function_url ? 1 : 0

  function_name      = aws_lambda_function.this.function_name
  authorization_type = "AWS_IAM"
}
