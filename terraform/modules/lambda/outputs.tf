output "function_name" {
  description = "Name of the function."
  value       = aws_lambda_function.this.function_name
}

output "function_arn" {
  description = "ARN of the function."
  value       = aws_lambda_function.this.arn
}

output "function_url" {
  description = "HTTPS URL of the function; null without create_function_url."
  value       = one(aws_lambda_function_url.this[*].function_url)
}

output "reserved_concurrency" {
  description = "Most calls answered at once; null without a reservation."
  value       = var.reserved_concurrency == -1 ? null : var.reserved_concurrency
}

output "role_arn" {
  description = "ARN of the function's role."
  value       = aws_iam_role.this.arn
}
