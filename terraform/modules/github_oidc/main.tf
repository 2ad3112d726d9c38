data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.id

  # An account has one provider for each issuer, so its ARN is known whoever made it.
  provider_arn = "arn:${local.partition}:iam::${local.account}:oidc-provider/${var.issuer}"
  role_name    = "deploy-${var.name}"
  subjects     = concat([for environment in var.environments : "repo:${var.repository}:environment:${environment}"], var.subjects)
}

# IAM checks GitHub's certificate by its own list of authorities; a thumbprint would be of no effect:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html
resource "aws_iam_openid_connect_provider" "this" {
  count = var.create_provider ? 1 : 0

  url            = "https://${var.issuer}"
  client_id_list = ["sts.amazonaws.com"]
}

# Its name does not start with the deployment's, so that the role is none of those that it may change.
resource "aws_iam_role" "this" {
  name                 = local.role_name
  description          = "Deploys ${var.name} from GitHub Actions of ${var.repository}"
  max_session_duration = var.max_session_seconds
  permissions_boundary = var.permissions_boundary_arn

  # Whole subjects, compared letter by letter: a pattern with a wildcard lets in pull requests, or other repositories.
  # https://docs.github.com/en/actions/security-for-github-actions/security-hardening-your-deployments/configuring-openid-connect-in-amazon-web-services
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = local.provider_arn }
      Condition = {
        StringEquals = {
          "${var.issuer}:aud" = "sts.amazonaws.com"
          "${var.issuer}:sub" = local.subjects
        }
      }
    }]
  })

  depends_on = [aws_iam_openid_connect_provider.this]
}

# Managed policies: inline ones of a role may have 10,240 characters together, and these have more.
resource "aws_iam_policy" "this" {
  for_each = local.policies

  name        = "${local.role_name}-${each.key}"
  description = "What ${local.role_name} may do: ${each.key}"
  policy      = each.value

  lifecycle {
    precondition {
      # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html#reference_iam-quotas-entity-length
      condition     = length(each.value) <= 6144
      error_message = "The policy ${each.key} has ${length(each.value)} characters, of which IAM takes 6144: shorten name, or give fewer keys."
    }
  }
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each = local.policies

  role       = aws_iam_role.this.name
  policy_arn = aws_iam_policy.this[each.key].arn
}
