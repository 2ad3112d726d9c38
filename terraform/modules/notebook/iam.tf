locals {
  bucket_arn = "arn:${local.partition}:s3:::${var.bucket}"
  # SageMaker writes names in ARNs in lower case.
  notebook_arn = "arn:${local.partition}:sagemaker:${local.region}:${local.account}:notebook-instance/${lower(var.name)}"
  log_group    = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:/aws/sagemaker/NotebookInstances"
  has_key      = var.kms_key_alias != null ? true : var.kms_key_arn != null
  prefixes     = concat(var.read_prefixes, [var.notebooks_prefix, var.write_prefix])

  statements = concat(
    [
      {
        Sid       = "ListArtifacts"
        Effect    = "Allow"
        Action    = ["s3:ListBucket"]
        Resource  = [local.bucket_arn]
        Condition = { StringLike = { "s3:prefix" = [for prefix in local.prefixes : "${prefix}*"] } }
      },
      {
        Sid      = "ReadArtifacts"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = [for prefix in local.prefixes : "${local.bucket_arn}/${prefix}*"]
      },
      {
        Sid      = "WriteArtifacts"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = ["${local.bucket_arn}/${var.write_prefix}*"]
      },
      {
        # SageMaker itself writes the notebook's logs, with the notebook's role:
        # https://docs.aws.amazon.com/sagemaker/latest/dg/logging-cloudwatch.html
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = [local.log_group, "${local.log_group}:log-stream:${var.name}/*"]
      },
    ],
    var.idle_minutes == null ? [] : [
      {
        Sid      = "StopItself"
        Effect   = "Allow"
        Action   = ["sagemaker:StopNotebookInstance"]
        Resource = [local.notebook_arn]
      },
    ],
    var.endpoint_arn == null ? [] : [
      {
        Sid      = "AskEndpoint"
        Effect   = "Allow"
        Action   = ["sagemaker:InvokeEndpoint"]
        Resource = [var.endpoint_arn]
      },
    ],
    # The ARN of a key that the same apply creates is not known in the plan; whether there is one, its alias tells.
    !local.has_key ? [] : [
      {
        Sid      = "UseKeyForArtifacts"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = [var.kms_key_alias == null ? var.kms_key_arn : "arn:${local.partition}:kms:${local.region}:${local.account}:key/*"]
        Condition = merge(
          { StringEquals = { "kms:ViaService" = "s3.${local.region}.amazonaws.com" } },
          # https://docs.aws.amazon.com/kms/latest/developerguide/alias-authorization.html
          var.kms_key_alias == null ? {} : { "ForAnyValue:StringEquals" = { "kms:ResourceAliases" = [var.kms_key_alias] } },
        )
      },
    ],
  )
}

resource "aws_iam_role" "this" {
  name                 = "${var.name}-notebook"
  description          = "What code in the notebook ${var.name} may do"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "sagemaker.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = "explore"
  role   = aws_iam_role.this.name
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements })
}
