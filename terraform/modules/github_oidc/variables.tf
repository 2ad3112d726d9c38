variable "name" {
  description = "What the deployment's names start with, NAME-ENVIRONMENT of the root module, such as whippet-dev. The role may touch what is called so, or so and a hyphen and more. The role itself is deploy-NAME."
  type        = string

  validation {
    # As long as name and environment of the root module together.
    condition     = can(regex("^[a-z][a-z0-9-]{1,34}[a-z0-9]$", var.name))
    error_message = "Use 3 to 36 lower-case letters, digits and hyphens; start with a letter, and do not end with a hyphen."
  }
}

variable "resource_tags" {
  description = "Tags that the deployment's provider puts on every resource (default_tags), such as {Project = \"whippet\", Environment = \"dev\"}. By them the role is limited where an ARN holds no name: EC2 and KMS."
  type        = map(string)

  validation {
    condition     = length(var.resource_tags) >= 1 && alltrue([for key, value in var.resource_tags : key != "" && value != "" && !strcontains(value, "*")])
    error_message = "Give at least one tag, with a value and without wildcards: without it the role could change every key and security group of the account."
  }
}

variable "parts" {
  description = "Modules that the deployment uses; the role gets no permission for the others."
  type        = set(string)
  default     = ["artifacts", "autoscaling", "endpoint", "lambda", "notebook", "observability", "training_instance"]
  nullable    = false

  validation {
    condition     = length(var.parts) >= 1 && length(setsubtract(var.parts, ["artifacts", "autoscaling", "endpoint", "lambda", "notebook", "observability", "training_instance"])) == 0
    error_message = "parts holds artifacts, autoscaling, endpoint, lambda, notebook, observability or training_instance."
  }
}

################################################################################
# Who may deploy
################################################################################

variable "repository" {
  description = "GitHub repository that deploys, OWNER/NAME."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$", var.repository))
    error_message = "Give OWNER/NAME, such as example/whippet: no address and no wildcard."
  }
}

variable "environments" {
  description = "GitHub environments of the repository whose jobs may take the role. Protect them there: required reviewers, and branches that may deploy."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for environment in var.environments : can(regex("^[^*?:/]+$", environment))])
    error_message = "An environment is named without colons, slashes and wildcards."
  }

  validation {
    condition     = length(var.environments) + length(var.subjects) >= 1
    error_message = "Nobody could take the role: give environments, or subjects."
  }
}

variable "subjects" {
  description = "More subjects that may take the role, whole, such as repo:OWNER/NAME:ref:refs/heads/main. Without wildcards: repo:OWNER/NAME:* lets in every pull request."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for subject in var.subjects : can(regex("^repo:[^*?:/]+/[^*?:/]+:[^*?]+$", subject))])
    error_message = "A subject is repo:OWNER/NAME:environment:ENVIRONMENT, repo:OWNER/NAME:ref:refs/heads/BRANCH or the like, without wildcards."
  }
}

variable "create_provider" {
  description = "Make the account's OIDC provider for the issuer. An account has one, so false where it is there already, as for the second deployment in an account."
  type        = bool
  default     = true
  nullable    = false
}

variable "issuer" {
  description = "Host of the issuer of GitHub's tokens, and its path where GitHub Enterprise has one."
  type        = string
  default     = "token.actions.githubusercontent.com"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9.-]+(/[A-Za-z0-9._/-]+)?$", var.issuer))
    error_message = "Give the issuer without https://, such as token.actions.githubusercontent.com."
  }
}

variable "max_session_seconds" {
  description = "Longest session of the role. A deployment with canary traffic takes its time: 3600 covers the default one."
  type        = number
  default     = 3600
  nullable    = false

  validation {
    condition     = var.max_session_seconds >= 3600 && var.max_session_seconds <= 43200
    error_message = "IAM allows 3600 to 43200 seconds (1 to 12 hours)."
  }
}

################################################################################
# What they may do
################################################################################

variable "permissions_boundary_arn" {
  description = "ARN of the IAM policy that bounds what the deploy role may ever do; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:[^:]+:iam::(\\d{12}|aws):policy/.+$", var.permissions_boundary_arn))
    error_message = "Give the ARN of an IAM policy, arn:aws:iam::ACCOUNT:policy/NAME, or null."
  }
}

variable "stack_boundary_arn" {
  description = "ARN of the boundary that every role of the deployment must carry (permissions_boundary_arn of the other modules): the deploy role can make no role without it. Null demands none; then whoever deploys can give a role of the deployment any permission of the account."
  type        = string
  default     = null

  validation {
    condition     = var.stack_boundary_arn == null || can(regex("^arn:[^:]+:iam::(\\d{12}|aws):policy/.+$", var.stack_boundary_arn))
    error_message = "Give the ARN of an IAM policy, arn:aws:iam::ACCOUNT:policy/NAME, or null."
  }
}

variable "kms_key_arns" {
  description = "ARNs of KMS keys that the deployment is given (kms_key_arn of the other modules). A key that it makes is known by its tags."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.kms_key_arns : can(regex("^arn:[^:]+:kms:[a-z0-9-]+:\\d{12}:key/[^*]+$", arn))])
    error_message = "Give the keys' ARNs, arn:aws:kms:REGION:ACCOUNT:key/ID, without wildcards."
  }
}

variable "state" {
  description = "Where Terraform's state lies: the S3 backend's `bucket` and `key`, and the `workspace`, null for the default one. Null gives no access to state."
  type = object({
    bucket    = string
    key       = string
    workspace = optional(string)
  })
  default = null

  validation {
    condition     = var.state == null || try(can(regex("^[a-z0-9][a-z0-9.-]+$", var.state.bucket)) && can(regex("^[^/*?][^*?]*$", var.state.key)) && can(regex("^[^/*?]+$", coalesce(var.state.workspace, "default"))), false)
    error_message = "state is a bucket's name, a key such as whippet/terraform.tfstate, and a workspace's name, all without wildcards."
  }
}
