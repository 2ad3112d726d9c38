data "aws_partition" "this" {}

locals {
  bucket_arn = "arn:${data.aws_partition.this.partition}:s3:::${var.bucket}"

  statements = [
    {
      Sid       = "ListArtifacts"
      Effect    = "Allow"
      Action    = ["s3:ListBucket"]
      Resource  = [local.bucket_arn]
      Condition = { StringLike = { "s3:prefix" = [for prefix in concat(var.read_prefixes, [var.write_prefix]) : "${prefix}*"] } }
    },
    {
      Sid      = "ReadArtifacts"
      Effect   = "Allow"
      Action   = ["s3:GetObject"]
      Resource = [for prefix in concat(var.read_prefixes, [var.write_prefix]) : "${local.bucket_arn}/${prefix}*"]
    },
    {
      Sid      = "WriteArtifacts"
      Effect   = "Allow"
      Action   = ["s3:PutObject"]
      Resource = ["${local.bucket_arn}/${var.write_prefix}*"]
    },
    {
      Sid      = "AskEndpoint"
      Effect   = "Allow"
      Action   = ["sagemaker:InvokeEndpoint"]
      Resource = [var.endpoint_arn]
    },
  ]
}

resource "aws_iam_role" "this" {
  name        = "${var.name}-notebook"
  description = "What code in the notebook ${var.name} may do"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "sagemaker.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = "explore"
  role   = aws_iam_role.this.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements })
}
