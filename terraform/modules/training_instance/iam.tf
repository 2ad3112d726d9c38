locals {
  bucket_arn = "arn:${local.partition}:s3:::${var.bucket}"

  # An own key's ARN is unknown in the plan, its alias is not:
  # https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-resource-aliases
  use_key = {
    Sid      = "UseBucketKey"
    Effect   = "Allow"
    Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource = [var.kms_key_alias == null ? coalesce(var.kms_key_arn, "-") : "arn:${local.partition}:kms:${local.region}:${local.account}:key/*"]
    Condition = merge(
      { StringEquals = { "kms:ViaService" = "s3.${local.region}.amazonaws.com" } },
      var.kms_key_alias == null ? {} : { "ForAnyValue:StringEquals" = { "kms:ResourceAliases" = [var.kms_key_alias] } },
    )
  }

  statements = concat(
    [
      {
        Sid       = "ListPhotosAndCheckpoints"
        Effect    = "Allow"
        Action    = ["s3:ListBucket"]
        Resource  = [local.bucket_arn]
        Condition = { StringLike = { "s3:prefix" = ["${var.data_prefix}*", "${var.checkpoints_prefix}*"] } }
      },
      {
        Sid    = "ReadPhotosCodeAndCheckpoints"
        Effect = "Allow"
        Action = ["s3:GetObject"]
        Resource = [
          "${local.bucket_arn}/${var.data_prefix}*",
          "${local.bucket_arn}/${var.checkpoints_prefix}*",
          replace(var.training_package_s3_uri, "s3://", "arn:${local.partition}:s3:::"),
        ]
      },
      {
        Sid      = "WriteRunsAndCheckpoints"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = ["${local.bucket_arn}/${var.runs_prefix}*", "${local.bucket_arn}/${var.checkpoints_prefix}*"]
      },
      {
        Sid      = "WriteLog"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${local.log_group}:*"]
      },
      {
        Sid      = "NameNewestModel"
        Effect   = "Allow"
        Action   = ["ssm:PutParameter"]
        Resource = ["arn:${local.partition}:ssm:${local.region}:${local.account}:parameter${local.model_parameter}"]
      },
      {
        # A group's ARN holds an id that AWS chooses; its name is the last part.
        Sid      = "LeaveTheGroup"
        Effect   = "Allow"
        Action   = ["autoscaling:TerminateInstanceInAutoScalingGroup"]
        Resource = ["arn:${local.partition}:autoscaling:${local.region}:${local.account}:autoScalingGroup:*:autoScalingGroupName/${local.full_name}"]
      },
    ],
    (var.kms_key_alias != null ? true : var.kms_key_arn != null) ? [local.use_key] : [],
    var.session_manager ? [
      {
        # What the SSM agent needs for a shell without SSH; ssmmessages has no resource-level permissions, and the agent's
        # ssm:UpdateInstanceInformation asks for any instance:
        # https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-create-iam-instance-profile.html
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsessionmanagermessagegatewayservice.html
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
  name                 = local.full_name
  description          = "What the training instance of ${var.name} may do"
  permissions_boundary = var.permissions_boundary_arn

  # EC2 sends no aws:SourceAccount when an instance takes its role:
  # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/iam-roles-for-amazon-ec2.html
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
  role   = aws_iam_role.this.name
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements })
}

resource "aws_iam_instance_profile" "this" {
  name = local.full_name
  role = aws_iam_role.this.name
}
