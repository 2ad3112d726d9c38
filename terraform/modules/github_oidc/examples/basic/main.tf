# A role that the environment "dev" of one repository takes, for the deployment whippet-dev, and the account's provider.

provider "aws" {
  region = "us-east-1"

  default_tags {
    tags = { Project = "whippet", Environment = "dev" }
  }
}

variable "environments" {
  description = "GitHub environments whose jobs may deploy."
  type        = list(string)
  default     = ["dev"]
}

module "github_oidc" {
  source = "../.."

  name          = "whippet-dev"
  resource_tags = { Project = "whippet", Environment = "dev" }
  repository    = "example/whippet"
  environments  = var.environments
}

output "role_arn" {
  description = "role-to-assume of aws-actions/configure-aws-credentials."
  value       = module.github_oidc.role_arn
}
