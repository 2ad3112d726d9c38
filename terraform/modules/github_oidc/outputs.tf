output "role_name" {
  description = "Name of the deploy role."
  value       = aws_iam_role.this.name
}

output "role_arn" {
  description = "ARN of the deploy role: role-to-assume of aws-actions/configure-aws-credentials."
  value       = aws_iam_role.this.arn
}

output "provider_arn" {
  description = "ARN of the account's OIDC provider."
  value       = local.provider_arn
}

output "subjects" {
  description = "Subjects that may take the role."
  value       = local.subjects
}

output "policy_lengths" {
  description = "Characters of each of the role's policies, of which IAM takes 6144."
  value       = { for group, policy in local.policies : group => length(policy) }
}
