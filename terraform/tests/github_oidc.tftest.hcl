mock_provider "aws" {
  source = "./tests/mocks"

  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/mock-policy" }
  }

  mock_data "aws_region" {
    defaults = { id = "us-east-1" }
  }
}

variables {
  name          = "whippet-test"
  resource_tags = { Project = "whippet", Environment = "test" }
  repository    = "example/whippet"
  environments  = ["test"]
}

run "only_jobs_of_the_environment_take_the_role" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  assert {
    condition = jsondecode(aws_iam_role.this.assume_role_policy).Statement == [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" }
      Condition = {
        StringEquals = {
          "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
          "token.actions.githubusercontent.com:sub" = ["repo:example/whippet:environment:test"]
        }
      }
    }]
    error_message = "One subject, compared letter by letter."
  }

  assert {
    condition     = aws_iam_openid_connect_provider.this[0].url == "https://token.actions.githubusercontent.com" && aws_iam_openid_connect_provider.this[0].client_id_list == toset(["sts.amazonaws.com"])
    error_message = "For AWS, from GitHub."
  }

  assert {
    condition     = aws_iam_role.this.name == "deploy-whippet-test" && !startswith(aws_iam_role.this.name, "whippet-test") && aws_iam_role.this.max_session_duration == 3600
    error_message = "It is none of the roles that it may change."
  }
}

run "every_statement_is_limited_to_the_deployment" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  assert {
    condition     = toset([for statement in flatten([for policy in aws_iam_policy.this : jsondecode(policy.policy).Statement]) : statement.Sid if contains(statement.Resource, "*")]) == toset(["CreateKey", "FindAlias", "FindLogGroups", "FindNetwork", "FindScaling", "Look", "Subscriptions"])
    error_message = "All resources only where AWS has nothing narrower."
  }

  assert {
    condition     = alltrue([for statement in flatten([for policy in aws_iam_policy.this : jsondecode(policy.policy).Statement]) : alltrue([for resource in statement.Resource : strcontains(resource, "whippet-test") || strcontains(resource, "oidc-provider/") || resource == "*" || anytrue([for allowed in ["key", "launch-template", "security-group", "instance", "network-interface", "volume", "vpc", "scalable-target"] : endswith(resource, "${allowed}/*")]) || contains(["LaunchByTemplate", "PublicImages", "ScalingServicesRoles"], statement.Sid)])])
    error_message = "By name, or by kind and tag."
  }

  assert {
    condition     = alltrue([for statement in flatten([for policy in aws_iam_policy.this : jsondecode(policy.policy).Statement]) : try(statement.Condition.StringEquals["aws:ResourceTag/Environment"] == "test" && statement.Condition.StringEquals["aws:ResourceTag/Project"] == "whippet", false) if contains(["Key", "LendKey", "ChangeTagged"], statement.Sid)])
    error_message = "Keys and EC2 by tags."
  }

  assert {
    condition     = alltrue([for statement in flatten([for policy in aws_iam_policy.this : jsondecode(policy.policy).Statement]) : try(statement.Condition.StringEquals["aws:RequestTag/Environment"] == "test", false) if contains(["CreateKey", "CreateTagged", "TagNewKey"], statement.Sid)])
    error_message = "New ones carry the tags."
  }

  assert {
    condition     = alltrue([for statement in flatten([for policy in aws_iam_policy.this : jsondecode(policy.policy).Statement]) : alltrue([for action in statement.Action : !endswith(action, ":*")])])
    error_message = "No service as a whole."
  }

  assert {
    condition     = alltrue([for statement in flatten([for policy in aws_iam_policy.this : jsondecode(policy.policy).Statement]) : alltrue([for action in statement.Action : can(regex("^iam:(Get|List)", action))]) if anytrue([for resource in statement.Resource : strcontains(resource, "deploy-")])])
    error_message = "Itself it may only read."
  }
}

run "roles_are_passed_to_their_service_only" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  assert {
    condition = { for statement in jsondecode(aws_iam_policy.this["roles"].policy).Statement : one(statement.Resource) => statement.Condition.StringEquals["iam:PassedToService"] if contains(statement.Action, "iam:PassRole") } == {
      "arn:aws:iam::123456789012:role/whippet-test-endpoint" = "sagemaker.amazonaws.com"
      "arn:aws:iam::123456789012:role/whippet-test-lambda"   = "lambda.amazonaws.com"
      "arn:aws:iam::123456789012:role/whippet-test-notebook" = "sagemaker.amazonaws.com"
      "arn:aws:iam::123456789012:role/whippet-test-training" = "ec2.amazonaws.com"
    }
    error_message = "Four roles, each with its service."
  }

  assert {
    condition     = !anytrue([for statement in flatten([for policy in aws_iam_policy.this : jsondecode(policy.policy).Statement]) : contains(statement.Action, "iam:PassRole") if !startswith(statement.Sid, "Pass")])
    error_message = "Nowhere else."
  }
}

run "another_deployment_with_a_longer_name_is_out_of_reach" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  variables {
    name = "whippet-dev"
  }

  assert {
    condition     = !anytrue([for statement in flatten([for policy in aws_iam_policy.this : jsondecode(policy.policy).Statement]) : anytrue([for resource in statement.Resource : can(regex("whippet-dev\\*", resource))])])
    error_message = "whippet-dev2 is not whippet-dev."
  }
}

run "bounded_deployments_have_bounded_roles" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  variables {
    stack_boundary_arn       = "arn:aws:iam::123456789012:policy/stack"
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/deployer"
  }

  assert {
    condition = jsondecode(aws_iam_policy.this["roles"].policy).Statement[2] == {
      Sid       = "RolesPermissions"
      Effect    = "Allow"
      Action    = ["iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"]
      Resource  = ["arn:aws:iam::123456789012:role/whippet-test-*"]
      Condition = { StringEquals = { "iam:PermissionsBoundary" = "arn:aws:iam::123456789012:policy/stack" } }
    }
    error_message = "Roles are made and changed only with the boundary."
  }

  assert {
    condition     = !anytrue([for statement in flatten([for policy in aws_iam_policy.this : jsondecode(policy.policy).Statement]) : contains(statement.Action, "iam:DeleteRolePermissionsBoundary") || contains(statement.Action, "iam:AttachRolePolicy")])
    error_message = "It is never taken off, nor gone around."
  }

  assert {
    condition     = aws_iam_role.this.permissions_boundary == var.permissions_boundary_arn
    error_message = "The deploy role has its own."
  }
}

run "parts_left_out_are_not_permitted" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  variables {
    parts = ["endpoint"]
  }

  assert {
    condition     = toset(keys(aws_iam_policy.this)) == toset(["roles", "sagemaker", "shared"])
    error_message = "What an endpoint needs."
  }

  assert {
    condition     = length([for statement in jsondecode(aws_iam_policy.this["roles"].policy).Statement : statement if contains(statement.Action, "iam:PassRole")]) == 1
    error_message = "One role is passed."
  }
}

run "artifacts_alone_need_no_roles" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  variables {
    parts = ["artifacts"]
  }

  assert {
    condition     = toset(keys(aws_iam_policy.this)) == toset(["artifacts", "keys", "roles"])
    error_message = "Buckets and a key, and to read itself."
  }
}

run "existing_provider_is_used" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  variables {
    create_provider = false
    issuer          = "github.example.org/_services/token"
  }

  assert {
    condition     = length(aws_iam_openid_connect_provider.this) == 0 && output.provider_arn == "arn:aws:iam::123456789012:oidc-provider/github.example.org/_services/token"
    error_message = "By its name."
  }
}

run "given_subjects_take_the_role" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  variables {
    environments = []
    subjects     = ["repo:example/whippet:ref:refs/heads/main"]
  }

  assert {
    condition     = output.subjects == ["repo:example/whippet:ref:refs/heads/main"]
    error_message = "As given."
  }
}

run "state_is_one_object_and_its_lock" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  variables {
    state = { bucket = "states", key = "whippet/terraform.tfstate", workspace = "test" }
  }

  assert {
    condition     = jsondecode(aws_iam_policy.this["state"].policy).Statement[1].Resource == ["arn:aws:s3:::states/env:/test/whippet/terraform.tfstate"] && jsondecode(aws_iam_policy.this["state"].policy).Statement[2].Resource == ["arn:aws:s3:::states/env:/test/whippet/terraform.tfstate.tflock"]
    error_message = "The workspace's own."
  }

  assert {
    condition     = !contains(jsondecode(aws_iam_policy.this["state"].policy).Statement[1].Action, "s3:DeleteObject")
    error_message = "A state is never deleted."
  }
}

run "state_of_the_default_workspace_is_the_key" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  variables {
    state = { bucket = "states", key = "whippet/terraform.tfstate" }
  }

  assert {
    condition     = jsondecode(aws_iam_policy.this["state"].policy).Statement[1].Resource == ["arn:aws:s3:::states/whippet/terraform.tfstate"]
    error_message = "Without env:/."
  }
}

run "given_keys_are_used_and_lent_to_services" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  variables {
    kms_key_arns = ["arn:aws:kms:us-east-1:123456789012:key/1"]
  }

  assert {
    condition     = jsondecode(aws_iam_policy.this["keys"].policy).Statement[6].Resource == ["arn:aws:kms:us-east-1:123456789012:key/1"] && jsondecode(aws_iam_policy.this["keys"].policy).Statement[7].Condition == { Bool = { "kms:GrantIsForAWSResource" = "true" } }
    error_message = "Only these."
  }
}

run "longest_names_fit_into_what_iam_takes" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  variables {
    name               = "abcdefghijklmnopqrst-abcdefghijklmno"
    resource_tags      = { Project = "abcdefghijklmnopqrst", Environment = "abcdefghijklmno" }
    stack_boundary_arn = "arn:aws:iam::123456789012:policy/abcdefghijklmnopqrst-abcdefghijklmno-boundary"
    kms_key_arns       = ["arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"]
    state              = { bucket = "abcdefghijklmnopqrstuvwxyz-terraform-state", key = "whippet/terraform.tfstate", workspace = "abcdefghijklmno" }
  }

  assert {
    condition     = max(values(output.policy_lengths)...) <= 6144 && length(output.policy_lengths) == 10
    error_message = "Ten policies of at most 6144 characters."
  }
}

run "policies_that_iam_does_not_take_are_refused" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  variables {
    kms_key_arns = [for number in range(100) : "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-${format("%012d", number)}"]
  }

  expect_failures = [aws_iam_policy.this["keys"]]
}

run "one_wrong_value_of_each_variable_is_refused" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  variables {
    # role that nobody can take
    environments = []
    # repository with a wildcard
    repository = "example/*"
    # issuer with a scheme
    issuer = "https://token.actions.githubusercontent.com"
    # session of a day
    max_session_seconds = 86400
    # name with capitals
    name = "Whippet"
    # no tags
    resource_tags = {}
    # unknown part
    parts = ["billing"]
    # role as boundary
    permissions_boundary_arn = "arn:aws:iam::123456789012:role/deployer"
    # role as stack boundary
    stack_boundary_arn = "arn:aws:iam::123456789012:role/stack"
    # every key
    kms_key_arns = ["arn:aws:kms:us-east-1:123456789012:key/*"]
    # every state
    state = { bucket = "states", key = "*" }
  }

  expect_failures = [
    var.environments,
    var.repository,
    var.issuer,
    var.max_session_seconds,
    var.name,
    var.resource_tags,
    var.parts,
    var.permissions_boundary_arn,
    var.stack_boundary_arn,
    var.kms_key_arns,
    var.state,
  ]
}

run "another_wrong_value_is_refused" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  variables {
    # environment with a wildcard
    environments = ["*"]
  }

  expect_failures = [
    var.environments,
  ]
}

run "a_third_wrong_value_is_refused" {
  command = plan

  module {
    source = "./modules/github_oidc"
  }

  variables {
    # subject with a wildcard
    subjects = ["repo:example/whippet:*"]
  }

  expect_failures = [
    var.subjects,
  ]
}
