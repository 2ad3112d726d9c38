locals {
  # SageMaker writes the name in lower case into the ARN. The plan knows this ARN; the endpoint's own it does not.
  endpoint_arn = var.endpoint_name == null ? null : "arn:${local.partition}:sagemaker:${local.region}:${local.account}:endpoint/${lower(var.endpoint_name)}"

  # A key of the same apply has no ARN yet in the plan; its alias it has.
  has_key        = var.kms_key_alias != null ? true : var.kms_key_arn != null
  key_arns       = var.kms_key_alias != null ? ["arn:${local.partition}:kms:${local.region}:${local.account}:key/*"] : compact([var.kms_key_arn])
  key_conditions = var.kms_key_alias == null ? {} : { "ForAnyValue:StringEquals" = { "kms:ResourceAliases" = [var.kms_key_alias] } }

  # An action that a destination of each service takes: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
  destination_actions = { sqs = "sqs:SendMessage", sns = "sns:Publish", lambda = "lambda:InvokeFunction", events = "events:PutEvents" }

  network_interfaces = "arn:${local.partition}:ec2:${local.region}:${local.account}:network-interface/*"
  subnet_arns        = [for id in sort(try(var.vpc.subnet_ids, [])) : "arn:${local.partition}:ec2:${local.region}:${local.account}:subnet/${id}"]
  group_arns         = [for id in sort(try(var.vpc.security_group_ids, [])) : "arn:${local.partition}:ec2:${local.region}:${local.account}:security-group/${id}"]

  statements = concat(
    [for statement in [
      merge(
        {
          Sid      = "AskEndpoint"
          Effect   = "Allow"
          Action   = ["sagemaker:InvokeEndpoint"]
          Resource = [local.endpoint_arn]
        },
        { for key in ["Condition"] : key => var.invoke_condition if var.invoke_condition != null },
      ),
    ] : statement if local.endpoint_arn != null],
    [
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${local.log_group}:*"]
      },
    ],
    [for statement in [
      {
        Sid      = "ReadPhotos"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = var.photo_read_arns
      },
    ] : statement if length(var.photo_read_arns) > 0],
    [for statement in [
      {
        Sid      = "HandOverFailedEvents"
        Effect   = "Allow"
        Action   = [local.destination_actions[split(":", coalesce(local.on_failure_arn, "::sqs"))[2]]]
        Resource = [local.on_failure_arn]
      },
    ] : statement if local.on_failure_arn != null],
    [for statement in [
      {
        # Neither action has resource-level permissions:
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html
        Sid      = "SendTraces"
        Effect   = "Allow"
        Action   = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]
        Resource = ["*"]
      },
    ] : statement if var.enable_xray],
    [for statement in [
      {
        # The context binds it to this function's variables:
        # https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars-encryption.html
        Sid       = "DecryptEnvironment"
        Effect    = "Allow"
        Action    = ["kms:Decrypt"]
        Resource  = local.key_arns
        Condition = merge(local.key_conditions, { StringEquals = { "kms:EncryptionContext:aws:lambda:FunctionArn" = local.function_arn } })
      },
    ] : statement if var.encrypt_variables],
    [for statement in [
      {
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
        Sid       = "EncryptFailedEvents"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = local.key_arns
        Condition = merge(local.key_conditions, { StringEquals = { "kms:ViaService" = "sqs.${local.region}.amazonaws.com" } })
      },
    ] : statement if local.has_key && local.creates_queue],
    [for statement in local.network_statements : statement if var.vpc != null],
  )

  # What Lambda needs to put the function into a VPC, and the function's own code does not:
  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions
  network_statements = [
    {
      Sid      = "CreateNetworkInterfaces"
      Effect   = "Allow"
      Action   = ["ec2:CreateNetworkInterface"]
      Resource = concat(local.subnet_arns, local.group_arns, [local.network_interfaces])
    },
    {
      # Lambda asks for leave on every resource of the account here, not on network interfaces alone (same page).
      Sid      = "ManageNetworkInterfaces"
      Effect   = "Allow"
      Action   = ["ec2:AssignPrivateIpAddresses", "ec2:DeleteNetworkInterface", "ec2:UnassignPrivateIpAddresses"]
      Resource = ["arn:${local.partition}:ec2:${local.region}:${local.account}:*/*"]
    },
    {
      # Neither action has resource-level permissions:
      # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
      Sid      = "FindNetworkInterfaces"
      Effect   = "Allow"
      Action   = ["ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"]
      Resource = ["*"]
    },
    {
      # Credentials that the code holds carry the function's ARN; Lambda's own calls do not:
      # https://docs.aws.amazon.com/lambda/latest/dg/permissions-source-function-arn.html
      Sid    = "KeepNetworkFromCode"
      Effect = "Deny"
      Action = [
        "ec2:AssignPrivateIpAddresses",
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:UnassignPrivateIpAddresses",
      ]
      Resource  = ["*"]
      Condition = { ArnEquals = { "lambda:SourceFunctionArn" = [local.function_arn] } }
    },
  ]
}

resource "aws_iam_role" "this" {
  name                 = "${var.function_name}-lambda"
  description          = "What the function ${var.function_name} may do"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = "function"
  role   = aws_iam_role.this.name
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements })
}
