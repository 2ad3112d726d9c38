data "aws_partition" "this" {}

locals {
  bucket_arn = "arn:${data.aws_partition.this.partition}:s3:::${var.bucket}"

  statements = concat(
    [
      {
        Sid       = "ListData"
        Effect    = "Allow"
        Action    = ["s3:ListBucket"]
        Resource  = [local.bucket_arn]
        Condition = { StringLike = { "s3:prefix" = ["${var.data_prefix}*"] } }
      },
      {
        Sid    = "ReadDataAndCode"
        Effect = "Allow"
        Action = ["s3:GetObject"]
        Resource = [
          "${local.bucket_arn}/${var.data_prefix}*",
          replace(var.training_package_s3_uri, "s3://", "arn:${data.aws_partition.this.partition}:s3:::"),
        ]
      },
      {
        Sid      = "WriteRuns"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = ["${local.bucket_arn}/${var.runs_prefix}*"]
      },
    ],
    var.session_manager ? [
      {
        # What the SSM agent needs for a shell without SSH; ssmmessages has no resource-level permissions:
        # https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-create-iam-instance-profile.html
        Sid    = "SessionManager"
        Effect = "Allow"
        Action = [
          "ssm:UpdateInstanceInformation",
          "ssmmessages:CreateControlChannel",
          "ssmmessages:CreateDataChannel",
          "ssmmessages:OpenControlChannel",
          "ssmmessages:OpenDataChannel",
        ]
        Resource = ["*"]
      },
    ] : [],
  )
}

resource "aws_iam_role" "this" {
  name        = "${var.name}-training"
  description = "What the training instance of ${var.name} may do"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = "train"
  role   = aws_iam_role.this.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements })
}

resource "aws_iam_instance_profile" "this" {
  name = "${var.name}-training"
  role = aws_iam_role.this.name
}
