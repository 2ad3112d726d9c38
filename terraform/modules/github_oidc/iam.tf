locals {
  # NAME and NAME-*, not NAME*: whippet-dev2 is another deployment than whippet-dev.
  in_account = "${local.region}:${local.account}"
  ec2        = "arn:${local.partition}:ec2:${local.in_account}"
  roles      = "arn:${local.partition}:iam::${local.account}:role"
  sagemaker  = "arn:${local.partition}:sagemaker:${local.in_account}"

  # Where an ARN holds no name of ours, the tags tell what is ours.
  tagged_request  = { StringEquals = { for key, value in var.resource_tags : "aws:RequestTag/${key}" => value } }
  tagged_resource = { StringEquals = { for key, value in var.resource_tags : "aws:ResourceTag/${key}" => value } }

  # Roles of the deployment, and the one service that each is passed to.
  passed_roles = { for part, role in {
    endpoint          = { name = "endpoint", service = "sagemaker" }
    lambda            = { name = "lambda", service = "lambda" }
    notebook          = { name = "notebook", service = "sagemaker" }
    training_instance = { name = "training", service = "ec2" }
  } : part => role if contains(var.parts, part) }

  # Services whose own roles scale things, by the part that needs them.
  scaling_services = flatten([for part, services in {
    autoscaling       = ["sagemaker.application-autoscaling.amazonaws.com"]
    lambda            = ["lambda.application-autoscaling.amazonaws.com"]
    training_instance = ["autoscaling.amazonaws.com", "spot.amazonaws.com"]
  } : services if contains(var.parts, part)])

  # Statements by what they are for, and whether that is needed. What needs a comment has it; the rest is one module's resources,
  # with the calls that the provider makes to create, read, change, tag and delete them.
  all_policies = {
    self = {
      needed = true
      statements = [{
        # Where the deployment's own configuration holds this module, a plan reads what it made. Changing it takes someone
        # else.
        Sid    = "ReadItself"
        Effect = "Allow"
        Action = ["iam:GetOpenIDConnectProvider", "iam:GetPolicy", "iam:GetPolicyVersion", "iam:GetRole",
        "iam:ListAttachedRolePolicies", "iam:ListPolicyVersions", "iam:ListRolePolicies"]
        Resource = ["${local.roles}/${local.role_name}", "arn:${local.partition}:iam::${local.account}:policy/${local.role_name}-*", local.provider_arn]
      }]
    }
    roles = {
      needed = length(local.passed_roles) > 0
      statements = [
        {
          Sid    = "Roles"
          Effect = "Allow"
          Action = ["iam:DeleteRole", "iam:DeleteRolePolicy", "iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies",
          "iam:ListInstanceProfilesForRole", "iam:ListRolePolicies", "iam:TagRole", "iam:UntagRole", "iam:UpdateAssumeRolePolicy", "iam:UpdateRole"]
          Resource = ["${local.roles}/${var.name}-*"]
        },
        merge(
          {
            # Without a boundary the role can give a role of the deployment any permission, and so have it itself:
            # https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html#access_policies_boundaries-delegate
            Sid      = "RolesPermissions"
            Effect   = "Allow"
            Action   = ["iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"]
            Resource = ["${local.roles}/${var.name}-*"]
          },
          { for key in ["Condition"] : key => { StringEquals = { "iam:PermissionsBoundary" = var.stack_boundary_arn } } if var.stack_boundary_arn != null },
        ),
      ]
    }
    pass-roles = {
      needed = length(local.passed_roles) > 0
      statements = [for part in sort(keys(local.passed_roles)) : {
        Sid       = "Pass${title(local.passed_roles[part].name)}Role"
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = ["${local.roles}/${var.name}-${local.passed_roles[part].name}"]
        Condition = { StringEquals = { "iam:PassedToService" = "${local.passed_roles[part].service}.amazonaws.com" } }
      }]
    }
    service-roles = {
      needed = length(local.scaling_services) > 0
      statements = [{
        # The first scaling in an account makes the service's own role, which nobody can change.
        Sid       = "ScalingServicesRoles"
        Effect    = "Allow"
        Action    = ["iam:CreateServiceLinkedRole"]
        Resource  = ["${local.roles}/aws-service-role/*"]
        Condition = { StringEquals = { "iam:AWSServiceName" = local.scaling_services } }
      }]
    }
    artifacts = {
      needed = contains(var.parts, "artifacts")
      statements = [
        {
          Sid    = "Buckets"
          Effect = "Allow"
          Action = ["s3:CreateBucket", "s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:GetAccelerateConfiguration", "s3:GetBucket*",
            "s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration", "s3:GetReplicationConfiguration", "s3:ListBucket*",
            "s3:PutBucketLogging", "s3:PutBucketOwnershipControls", "s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock",
          "s3:PutBucketTagging", "s3:PutBucketVersioning", "s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration"]
          Resource = ["arn:${local.partition}:s3:::${var.name}-${local.account}-*"]
        },
        {
          Sid    = "Objects"
          Effect = "Allow"
          Action = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:GetObjectTagging",
          "s3:PutObject", "s3:PutObjectTagging"]
          Resource = ["arn:${local.partition}:s3:::${var.name}-${local.account}-*/*"]
        },
      ]
    }
    key = {
      needed = contains(var.parts, "artifacts")
      statements = [
        {
          # A key has no ARN before it is there:
          # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awskeymanagementservice.html
          Sid       = "CreateKey"
          Effect    = "Allow"
          Action    = ["kms:CreateKey"]
          Resource  = ["*"]
          Condition = local.tagged_request
        },
        {
          # To create a key with tags takes this too, of any key as long as it has no ARN. A key with another deployment's
          # tags stays out of reach: https://docs.aws.amazon.com/kms/latest/developerguide/tag-permissions.html
          Sid      = "TagNewKey"
          Effect   = "Allow"
          Action   = ["kms:TagResource"]
          Resource = ["arn:${local.partition}:kms:${local.in_account}:key/*"]
          Condition = merge(local.tagged_request, {
            StringEqualsIfExists = { for key, value in var.resource_tags : "aws:ResourceTag/${key}" => value }
          })
        },
        {
          Sid    = "Key"
          Effect = "Allow"
          Action = ["kms:CreateAlias", "kms:Decrypt", "kms:DeleteAlias", "kms:DescribeKey", "kms:EnableKeyRotation", "kms:Encrypt",
            "kms:GenerateDataKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags", "kms:PutKeyPolicy",
          "kms:ScheduleKeyDeletion", "kms:TagResource", "kms:UntagResource", "kms:UpdateKeyDescription"]
          Resource  = ["arn:${local.partition}:kms:${local.in_account}:key/*"]
          Condition = local.tagged_resource
        },
        {
          Sid       = "LendKey"
          Effect    = "Allow"
          Action    = ["kms:CreateGrant"]
          Resource  = ["arn:${local.partition}:kms:${local.in_account}:key/*"]
          Condition = merge(local.tagged_resource, { Bool = { "kms:GrantIsForAWSResource" = "true" } })
        },
        {
          Sid      = "KeyAlias"
          Effect   = "Allow"
          Action   = ["kms:CreateAlias", "kms:DeleteAlias"]
          Resource = ["arn:${local.partition}:kms:${local.in_account}:alias/${var.name}"]
        },
        {
          # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awskeymanagementservice.html
          Sid      = "FindAlias"
          Effect   = "Allow"
          Action   = ["kms:ListAliases"]
          Resource = ["*"]
        },
      ]
    }
    endpoint = {
      needed = contains(var.parts, "endpoint")
      statements = [{
        # The parameter that training writes the model's address to.
        Sid      = "ReadModelParameter"
        Effect   = "Allow"
        Action   = ["ssm:GetParameter"]
        Resource = ["arn:${local.partition}:ssm:${local.in_account}:parameter/${var.name}/*"]
        }, {
        Sid    = "Endpoint"
        Effect = "Allow"
        Action = ["sagemaker:AddTags", "sagemaker:CreateEndpoint", "sagemaker:CreateEndpointConfig", "sagemaker:CreateModel",
          "sagemaker:DeleteEndpoint", "sagemaker:DeleteEndpointConfig", "sagemaker:DeleteModel", "sagemaker:DeleteTags",
          "sagemaker:DescribeEndpoint", "sagemaker:DescribeEndpointConfig", "sagemaker:DescribeModel", "sagemaker:ListTags",
        "sagemaker:UpdateEndpoint", "sagemaker:UpdateEndpointWeightsAndCapacities"]
        Resource = ["${local.sagemaker}:endpoint/${var.name}", "${local.sagemaker}:endpoint-config/${var.name}-*", "${local.sagemaker}:model/${var.name}-*"]
      }]
    }
    notebook = {
      needed = contains(var.parts, "notebook")
      statements = [{
        Sid    = "Notebook"
        Effect = "Allow"
        Action = ["sagemaker:AddTags", "sagemaker:CreateNotebookInstance*", "sagemaker:DeleteNotebookInstance*", "sagemaker:DeleteTags",
          "sagemaker:DescribeNotebookInstance*", "sagemaker:ListTags", "sagemaker:StartNotebookInstance", "sagemaker:StopNotebookInstance",
        "sagemaker:UpdateNotebookInstance*"]
        Resource = ["${local.sagemaker}:notebook-instance/${var.name}", "${local.sagemaker}:notebook-instance-lifecycle-config/${var.name}-*"]
      }]
    }
    function = {
      needed = contains(var.parts, "lambda")
      statements = [
        {
          Sid    = "Function"
          Effect = "Allow"
          Action = ["lambda:AddPermission", "lambda:CreateAlias", "lambda:CreateFunction", "lambda:CreateFunctionUrlConfig",
            "lambda:DeleteAlias", "lambda:DeleteFunction*", "lambda:DeleteProvisionedConcurrencyConfig", "lambda:GetAlias",
            "lambda:GetFunction*", "lambda:GetPolicy", "lambda:GetProvisionedConcurrencyConfig", "lambda:InvokeFunction",
            "lambda:ListTags", "lambda:ListVersionsByFunction", "lambda:PublishVersion", "lambda:PutFunctionConcurrency",
            "lambda:PutFunctionEventInvokeConfig", "lambda:PutProvisionedConcurrencyConfig", "lambda:RemovePermission",
            "lambda:TagResource", "lambda:UntagResource", "lambda:UpdateAlias", "lambda:UpdateFunctionCode",
          "lambda:UpdateFunctionConfiguration", "lambda:UpdateFunctionEventInvokeConfig", "lambda:UpdateFunctionUrlConfig"]
          Resource = [for suffix in ["", ":*"] : "arn:${local.partition}:lambda:${local.in_account}:function:${var.name}${suffix}"]
        },
        {
          Sid    = "FailedEvents"
          Effect = "Allow"
          Action = ["sqs:CreateQueue", "sqs:DeleteQueue", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ListQueueTags",
          "sqs:SetQueueAttributes", "sqs:TagQueue", "sqs:UntagQueue"]
          Resource = ["arn:${local.partition}:sqs:${local.in_account}:${var.name}-failed"]
        },
      ]
    }
    scaling = {
      needed = length(setintersection(var.parts, ["autoscaling", "lambda"])) > 0
      statements = [
        {
          # A target's ARN is an id that AWS makes; what can be told is the service.
          Sid    = "Scaling"
          Effect = "Allow"
          Action = ["application-autoscaling:DeleteScalingPolicy", "application-autoscaling:DeleteScheduledAction",
            "application-autoscaling:DeregisterScalableTarget", "application-autoscaling:PutScalingPolicy",
          "application-autoscaling:PutScheduledAction", "application-autoscaling:RegisterScalableTarget"]
          Resource  = ["arn:${local.partition}:application-autoscaling:${local.in_account}:scalable-target/*"]
          Condition = { StringEquals = { "application-autoscaling:service-namespace" = ["lambda", "sagemaker"] } }
        },
        {
          Sid    = "ScalingTags"
          Effect = "Allow"
          Action = ["application-autoscaling:ListTagsForResource", "application-autoscaling:TagResource",
          "application-autoscaling:UntagResource"]
          Resource = ["arn:${local.partition}:application-autoscaling:${local.in_account}:scalable-target/*"]
        },
        {
          # https://docs.aws.amazon.com/service-authorization/latest/reference/list_applicationautoscaling.html
          Sid      = "FindScaling"
          Effect   = "Allow"
          Action   = ["application-autoscaling:Describe*"]
          Resource = ["*"]
        },
        {
          # Target tracking makes its alarms in the caller's name:
          # https://docs.aws.amazon.com/autoscaling/application/userguide/security_iam_id-based-policy-examples.html
          Sid    = "ScalingAlarms"
          Effect = "Allow"
          Action = ["cloudwatch:DeleteAlarms", "cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm"]
          Resource = [for resource in ["endpoint/${var.name}/*", "function:${var.name}:*"] :
          "arn:${local.partition}:cloudwatch:${local.in_account}:alarm:TargetTracking-${resource}"]
        },
      ]
    }
    logs = {
      needed = length(setintersection(var.parts, ["endpoint", "lambda", "training_instance"])) > 0
      statements = [
        {
          Sid    = "LogGroups"
          Effect = "Allow"
          Action = ["logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:DeleteRetentionPolicy",
            "logs:DisassociateKmsKey", "logs:ListTagsForResource", "logs:PutRetentionPolicy", "logs:TagResource",
          "logs:UntagResource"]
          # Tags are on the ARN without ":*", everything else on the one with it:
          # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html
          Resource = flatten([for group in ["/aws/lambda/${var.name}", "/aws/sagemaker/Endpoints/${var.name}", "/${var.name}/*"] :
            [for suffix in endswith(group, "*") ? [""] : ["", ":*"] : "arn:${local.partition}:logs:${local.in_account}:log-group:${group}${suffix}"]
          ])
        },
        {
          # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatchlogs.html
          Sid      = "FindLogGroups"
          Effect   = "Allow"
          Action   = ["logs:DescribeLogGroups"]
          Resource = ["*"]
        },
      ]
    }
    alarms = {
      needed = length(setintersection(var.parts, ["observability", "training_instance"])) > 0
      statements = [
        {
          Sid    = "Alarms"
          Effect = "Allow"
          Action = ["cloudwatch:DeleteAlarms", "cloudwatch:DeleteDashboards", "cloudwatch:DescribeAlarms", "cloudwatch:GetDashboard",
            "cloudwatch:ListTagsForResource", "cloudwatch:PutDashboard", "cloudwatch:PutMetricAlarm", "cloudwatch:TagResource",
          "cloudwatch:UntagResource"]
          Resource = ["arn:${local.partition}:cloudwatch:${local.in_account}:alarm:${var.name}-*", "arn:${local.partition}:cloudwatch::${local.account}:dashboard/${var.name}"]
        },
      ]
    }
    observability = {
      needed = contains(var.parts, "observability")
      statements = [
        {
          Sid    = "Topic"
          Effect = "Allow"
          Action = ["sns:CreateTopic", "sns:DeleteTopic", "sns:GetTopicAttributes", "sns:ListSubscriptionsByTopic",
          "sns:ListTagsForResource", "sns:SetTopicAttributes", "sns:Subscribe", "sns:TagResource", "sns:UntagResource"]
          Resource = ["arn:${local.partition}:sns:${local.in_account}:${var.name}-alarms"]
        },
        {
          # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html
          Sid      = "Subscriptions"
          Effect   = "Allow"
          Action   = ["sns:GetSubscriptionAttributes", "sns:Unsubscribe"]
          Resource = ["*"]
        },
        {
          Sid      = "Budget"
          Effect   = "Allow"
          Action   = ["budgets:ListTagsForResource", "budgets:ModifyBudget", "budgets:TagResource", "budgets:UntagResource", "budgets:ViewBudget"]
          Resource = ["arn:${local.partition}:budgets::${local.account}:budget/${var.name}"]
        },
      ]
    }
    network = {
      needed = length(setintersection(var.parts, ["endpoint", "lambda", "notebook"])) > 0
      statements = [{
        # What runs in a VPC is checked against it in the caller's name; none of these has resource-level permissions:
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
        Sid      = "FindNetwork"
        Effect   = "Allow"
        Action   = ["ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs"]
        Resource = ["*"]
      }]
    }
    training = {
      needed = contains(var.parts, "training_instance")
      statements = [
        {
          Sid    = "TrainingGroup"
          Effect = "Allow"
          Action = ["autoscaling:CreateAutoScalingGroup", "autoscaling:CreateOrUpdateTags", "autoscaling:DeleteAutoScalingGroup",
            "autoscaling:DeletePolicy", "autoscaling:DeleteTags", "autoscaling:EnableMetricsCollection",
            "autoscaling:DisableMetricsCollection", "autoscaling:PutScalingPolicy", "autoscaling:SetInstanceProtection",
          "autoscaling:UpdateAutoScalingGroup"]
          Resource = ["arn:${local.partition}:autoscaling:${local.in_account}:autoScalingGroup:*:autoScalingGroupName/${var.name}-training"]
        },
        {
          Sid    = "TrainingProfile"
          Effect = "Allow"
          Action = ["iam:AddRoleToInstanceProfile", "iam:CreateInstanceProfile", "iam:DeleteInstanceProfile", "iam:GetInstanceProfile",
          "iam:RemoveRoleFromInstanceProfile", "iam:TagInstanceProfile", "iam:UntagInstanceProfile"]
          Resource = ["arn:${local.partition}:iam::${local.account}:instance-profile/${var.name}-training"]
        },
        {
          Sid       = "CreateTagged"
          Effect    = "Allow"
          Action    = ["ec2:CreateLaunchTemplate", "ec2:CreateSecurityGroup"]
          Resource  = ["${local.ec2}:launch-template/*", "${local.ec2}:security-group/*"]
          Condition = local.tagged_request
        },
        {
          Sid      = "CreateInVpc"
          Effect   = "Allow"
          Action   = ["ec2:CreateSecurityGroup", "ec2:DescribeVpcAttribute"]
          Resource = ["${local.ec2}:vpc/*"]
        },
        {
          Sid       = "TagNew"
          Effect    = "Allow"
          Action    = ["ec2:CreateTags"]
          Resource  = [for kind in ["instance", "launch-template", "network-interface", "security-group", "volume"] : "${local.ec2}:${kind}/*"]
          Condition = { StringEquals = { "ec2:CreateAction" = ["CreateLaunchTemplate", "CreateSecurityGroup", "RunInstances"] } }
        },
        {
          Sid    = "ChangeTagged"
          Effect = "Allow"
          Action = ["ec2:AuthorizeSecurityGroup*", "ec2:CreateLaunchTemplateVersion", "ec2:CreateTags", "ec2:DeleteLaunchTemplate",
            "ec2:DeleteSecurityGroup", "ec2:DeleteTags", "ec2:ModifyLaunchTemplate", "ec2:RevokeSecurityGroup*",
          "ec2:TerminateInstances"]
          Resource  = [for kind in ["instance", "launch-template", "security-group"] : "${local.ec2}:${kind}/*"]
          Condition = local.tagged_resource
        },
        {
          # The group starts instances in the caller's name, from a launch template and nothing else:
          # https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-launch-template-permissions.html
          Sid       = "LaunchByTemplate"
          Effect    = "Allow"
          Action    = ["ec2:RunInstances"]
          Resource  = ["${local.ec2}:*/*", "arn:${local.partition}:ec2:${local.region}::image/*"]
          Condition = { ArnLike = { "ec2:LaunchTemplate" = "${local.ec2}:launch-template/*" } }
        },
        {
          # EC2's and Auto Scaling's descriptions, and the list of parameters, have no resource-level permissions:
          # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html,
          # list_amazonec2autoscaling.html and list_awssystemsmanager.html beside it.
          Sid    = "Look"
          Effect = "Allow"
          Action = ["autoscaling:Describe*", "ec2:DescribeImages", "ec2:DescribeInstances", "ec2:DescribeInstanceTypes",
            "ec2:DescribeLaunchTemplates", "ec2:DescribeLaunchTemplateVersions", "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSecurityGroupRules", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeTags",
          "ec2:DescribeVolumes", "ec2:DescribeVpcs", "ssm:DescribeParameters"]
          Resource = ["*"]
        },
        {
          Sid    = "Parameters"
          Effect = "Allow"
          Action = ["ssm:AddTagsToResource", "ssm:DeleteParameter", "ssm:GetParameter", "ssm:GetParameters", "ssm:ListTagsForResource",
          "ssm:PutParameter", "ssm:RemoveTagsFromResource"]
          Resource = ["arn:${local.partition}:ssm:${local.in_account}:parameter/${var.name}/*"]
        },
        {
          Sid      = "PublicImages"
          Effect   = "Allow"
          Action   = ["ssm:GetParameter"]
          Resource = ["arn:${local.partition}:ssm:${local.region}::parameter/aws/service/*"]
        },
      ]
    }
    state = {
      needed = var.state != null
      # https://developer.hashicorp.com/terraform/language/backend/s3#s3-bucket-permissions
      statements = [
        {
          Sid       = "FindState"
          Effect    = "Allow"
          Action    = ["s3:ListBucket"]
          Resource  = ["arn:${local.partition}:s3:::${try(var.state.bucket, "")}"]
          Condition = { StringLike = { "s3:prefix" = [local.state_key, "env:/*"] } }
        },
        {
          Sid      = "State"
          Effect   = "Allow"
          Action   = ["s3:GetObject", "s3:PutObject"]
          Resource = ["arn:${local.partition}:s3:::${try(var.state.bucket, "")}/${local.state_key}"]
        },
        {
          Sid      = "StateLock"
          Effect   = "Allow"
          Action   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
          Resource = ["arn:${local.partition}:s3:::${try(var.state.bucket, "")}/${local.state_key}.tflock"]
        },
      ]
    }
    given-keys = {
      needed = length(var.kms_key_arns) > 0
      statements = [
        {
          Sid      = "UseGivenKeys"
          Effect   = "Allow"
          Action   = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"]
          Resource = var.kms_key_arns
        },
        {
          Sid       = "LendGivenKeys"
          Effect    = "Allow"
          Action    = ["kms:CreateGrant"]
          Resource  = var.kms_key_arns
          Condition = { Bool = { "kms:GrantIsForAWSResource" = "true" } }
        },
      ]
    }
  }

  # A workspace's state lies under env:/WORKSPACE/.
  state_key = try(var.state.workspace, null) == null ? try(var.state.key, "") : "env:/${var.state.workspace}/${var.state.key}"

  # One policy of each group that has something in it; IAM attaches ten to a role. jsonencode writes no blanks.
  policies = { for group, names in {
    roles         = ["self", "roles", "pass-roles", "service-roles"]
    artifacts     = ["artifacts"]
    keys          = ["key", "given-keys"]
    sagemaker     = ["endpoint", "notebook"]
    lambda        = ["function"]
    scaling       = ["scaling"]
    shared        = ["logs", "network"]
    observability = ["alarms", "observability"]
    training      = ["training"]
    state         = ["state"]
    } : group => jsonencode({
      Version   = "2012-10-17"
      Statement = flatten([for name in names : local.all_policies[name].statements if local.all_policies[name].needed])
  }) if anytrue([for name in names : local.all_policies[name].needed]) }
}
