locals {
  statements = concat(
    [
      {
        Sid      = "AskEndpoint"
        Effect   = "Allow"
        Action   = ["sagemaker:InvokeEndpoint"]
        Resource = [var.endpoint_arn]
      },
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["${aws_cloudwatch_log_group.this.arn}:*"]
      },
    ],
    length(var.photo_read_arns) == 0 ? [] : [
      {
        Sid      = "ReadPhotos"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = var.photo_read_arns
      },
    ],
  )
}

resource "aws_iam_role" "this" {
  name        = "${var.function_name}-lambda"
  description = "What the function ${var.function_name} may do"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = "ask-endpoint"
  role   = aws_iam_role.this.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements })
}
