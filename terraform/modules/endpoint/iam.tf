locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.id
  log_group = "/aws/sagemaker/Endpoints/${var.name}"

  # ACCOUNT.dkr.ecr.REGION.amazonaws.com[.cn]/REPOSITORY[:TAG][@DIGEST]
  ecr = [
    for image in distinct(compact(values(local.images))) :
    regex("^(?P<account>\\d{12})\\.dkr\\.ecr\\.(?P<region>[a-z0-9-]+)\\.[a-z0-9.-]+/(?P<repository>[^:@]+)", image)
  ]

  # Objects under s3://BUCKET/PREFIX, as ARN patterns.
  written_uris = compact([
    try(var.data_capture.destination_s3_uri, null),
    try(var.asynchronous.output_s3_uri, null),
    try(var.asynchronous.failure_s3_uri, null),
  ])
  written_arns = distinct([for uri in local.written_uris : "arn:${local.partition}:s3:::${trimsuffix(trimprefix(uri, "s3://"), "/")}/*"])
  request_arns = distinct([for uri in try(coalesce(var.asynchronous.input_s3_uris, []), []) : "arn:${local.partition}:s3:::${trimsuffix(trimprefix(uri, "s3://"), "/")}/*"])
  topic_arns   = distinct(compact([try(var.asynchronous.success_topic_arn, null), try(var.asynchronous.error_topic_arn, null)]))
  alarm_arns   = [for name in sort(distinct(try(var.deployment.rollback_alarm_names, []))) : "arn:${local.partition}:cloudwatch:${local.region}:${local.account}:alarm:${name}"]
  subnet_arns  = [for id in sort(try(var.vpc.subnet_ids, [])) : "arn:${local.partition}:ec2:${local.region}:${local.account}:subnet/${id}"]
  group_arns   = [for id in sort(try(var.vpc.security_group_ids, [])) : "arn:${local.partition}:ec2:${local.region}:${local.account}:security-group/${id}"]

  statements = concat(
    [
      {
        Sid      = "ReadModel"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = local.model_objects_arns
      },
      {
        Sid      = "PullImage"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = distinct([for image in local.ecr : "arn:${local.partition}:ecr:${image.region}:${image.account}:repository/${image.repository}"])
      },
      {
        # The token is for a whole registry; the action has no resource-level permission:
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html
        Sid      = "LogInToRegistry"
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = ["*"]
      },
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = ["arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${local.log_group}:*"]
      },
      {
        # No resource-level permission here either; the namespace is the limit that there is:
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/iam-cw-condition-keys-namespace.html
        Sid       = "PublishMetrics"
        Effect    = "Allow"
        Action    = ["cloudwatch:PutMetricData"]
        Resource  = ["*"]
        Condition = { StringLike = { "cloudwatch:namespace" = ["/aws/sagemaker/*", "AWS/SageMaker"] } }
      },
    ],
    [for statement in [
      {
        Sid      = "ReadRequests"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = local.request_arns
      },
    ] : statement if length(local.request_arns) > 0],
    [for statement in [
      {
        # https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-create-endpoint-prerequisites.html
        Sid      = "WriteAnswersAndCapture"
        Effect   = "Allow"
        Action   = ["s3:AbortMultipartUpload", "s3:PutObject"]
        Resource = local.written_arns
      },
    ] : statement if length(local.written_arns) > 0],
    [for statement in [
      {
        Sid      = "Notify"
        Effect   = "Allow"
        Action   = ["sns:Publish"]
        Resource = local.topic_arns
      },
    ] : statement if length(local.topic_arns) > 0],
    [for statement in [
      {
        # https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html
        Sid      = "WatchRollbackAlarms"
        Effect   = "Allow"
        Action   = ["cloudwatch:DescribeAlarms"]
        Resource = local.alarm_arns
      },
    ] : statement if length(local.alarm_arns) > 0],
    [for statement in [
      {
        # SageMaker's own list has all of these for every resource; what EC2 can scope is scoped:
        # https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html#sagemaker-roles-createmodel-perms and
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
        Sid      = "CreateNetworkInterfaces"
        Effect   = "Allow"
        Action   = ["ec2:CreateNetworkInterface"]
        Resource = concat(local.subnet_arns, local.group_arns, ["arn:${local.partition}:ec2:${local.region}:${local.account}:network-interface/*"])
      },
      {
        Sid    = "ManageNetworkInterfaces"
        Effect = "Allow"
        Action = [
          "ec2:CreateNetworkInterfacePermission",
          "ec2:DeleteNetworkInterface",
          "ec2:DeleteNetworkInterfacePermission",
        ]
        Resource  = ["arn:${local.partition}:ec2:${local.region}:${local.account}:network-interface/*"]
        Condition = { ArnEquals = { "ec2:Subnet" = local.subnet_arns } }
      },
      {
        # None of these has a resource-level permission:
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
        Sid    = "LookAtNetwork"
        Effect = "Allow"
        Action = [
          "ec2:DescribeDhcpOptions",
          "ec2:DescribeNetworkInterfaces",
          "ec2:DescribeSecurityGroups",
          "ec2:DescribeSubnets",
          "ec2:DescribeVpcs",
        ]
        Resource = ["*"]
      },
    ] : statement if var.vpc != null],
    local.key_statements,
  )

  # A key that the same apply creates is named by its alias, so that the plan shows the policy.
  key_arns       = var.kms_key_alias != null ? ["arn:${local.partition}:kms:${local.region}:${local.account}:key/*"] : var.kms_key_arn != null ? [var.kms_key_arn] : []
  key_conditions = { for operator, operand in { "ForAnyValue:StringEquals" = { "kms:ResourceAliases" = [var.kms_key_alias] } } : operator => operand if var.kms_key_alias != null }
  key_statements = [for statement in [
    merge(
      {
        Sid      = "UseKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]
        Resource = local.key_arns
      },
      { for key, value in { Condition = local.key_conditions } : key => value if var.kms_key_alias != null },
    ),
    {
      # The instances' volumes are encrypted by EC2, for which SageMaker passes the key on:
      # https://docs.aws.amazon.com/sagemaker/latest/dg/encryption-at-rest.html
      Sid       = "LendKeyToVolumes"
      Effect    = "Allow"
      Action    = ["kms:CreateGrant"]
      Resource  = local.key_arns
      Condition = merge(local.key_conditions, { Bool = { "kms:GrantIsForAWSResource" = "true" } })
    },
  ] : statement if length(local.key_arns) > 0]
}

resource "aws_iam_role" "this" {
  name                 = "${var.name}-endpoint"
  description          = "What SageMaker may do to host ${var.name}"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "sagemaker.amazonaws.com" }
      # https://docs.aws.amazon.com/sagemaker/latest/dg/security-confused-deputy-prevention.html
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:sagemaker:${local.region}:${local.account}:*" }
      }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = "host-model"
  role   = aws_iam_role.this.name
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements })
}
