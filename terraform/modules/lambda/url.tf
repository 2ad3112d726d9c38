resource "aws_lambda_function_url" "this" {
  # checkov:skip=CKV_AWS_258:AWS_IAM unless the caller asks for NONE in so many words (function_url.authorization)
  count = var.function_url == null ? 0 : 1

  function_name      = aws_lambda_alias.this.function_name
  qualifier          = aws_lambda_alias.this.name
  authorization_type = var.function_url.authorization

  dynamic "cors" {
    for_each = var.function_url.cors[*]

    content {
      allow_origins  = cors.value.allow_origins
      allow_methods  = cors.value.allow_methods
      allow_headers  = cors.value.allow_headers
      expose_headers = cors.value.expose_headers
      max_age        = cors.value.max_age_seconds
    }
  }
}

# Without a signature nobody is known, so the function's own policy must let everyone in. With AWS_IAM the callers' own
# policies do. https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
resource "aws_lambda_permission" "public_url" {
  # checkov:skip=CKV_AWS_301:The caller asked for a URL without authorization (function_url.authorization = "NONE")
  count = try(var.function_url.authorization, "") == "NONE" ? 1 : 0

  statement_id           = "PublicFunctionUrl"
  action                 = "lambda:InvokeFunctionUrl"
  principal              = "*"
  function_name          = aws_lambda_alias.this.function_name
  qualifier              = aws_lambda_alias.this.name
  function_url_auth_type = "NONE"
}
