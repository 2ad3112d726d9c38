data "aws_partition" "this" {}

locals {
  # ACCOUNT.dkr.ecr.REGION.amazonaws.com[.cn]/REPOSITORY[:TAG][@DIGEST]
  ecr = regex("^(?P<account>\\d{12})\\.dkr\\.ecr\\.(?P<region>[a-z0-9-]+)\\.[a-z0-9.-]+/(?P<repository>[^:@]+)", local.image)

  policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadModel"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = var.model_objects_arn
      },
      {
        Sid      = "PullImage"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = "arn:${data.aws_partition.this.partition}:ecr:${local.ecr.region}:${local.ecr.account}:repository/${local.ecr.repository}"
      },
      {
        # The token is for a whole registry; the action has no resource-level permission:
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html
        Sid      = "LogInToRegistry"
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.this.arn}:*"
      },
      {
        # No resource-level permission here either; the namespace is the limit that there is:
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/iam-cw-condition-keys-namespace.html
        Sid       = "PublishMetrics"
        Effect    = "Allow"
        Action    = "cloudwatch:PutMetricData"
        Resource  = "*"
        Condition = { StringLike = { "cloudwatch:namespace" = ["/aws/sagemaker/*", "AWS/SageMaker"] } }
      },
    ]
  }
}

resource "aws_iam_role" "this" {
  name        = "${var.name}-endpoint"
  description = "What SageMaker may do to host ${var.name}"

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
  name   = "host-model"
  role   = aws_iam_role.this.id
  policy = jsonencode(local.policy)
}
