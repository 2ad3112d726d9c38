output "function_name" {
  description = "Name of the function."
  value       = aws_lambda_function.this.function_name
}

output "function_arn" {
  description = "ARN of the function, without a version or an alias."
  value       = aws_lambda_function.this.arn
}

output "version" {
  description = "Version in service, the one that the alias names."
  value       = aws_lambda_function.this.version
}

output "alias_name" {
  description = "Name of the alias to call: aws lambda invoke --function-name NAME --qualifier ALIAS."
  value       = aws_lambda_alias.this.name
}

output "alias_arn" {
  description = "ARN of the alias: what a caller's policy names for lambda:InvokeFunction and lambda:InvokeFunctionUrl."
  value       = aws_lambda_alias.this.arn
}

output "function_url" {
  description = "HTTPS URL of the alias; null without function_url."
  value       = one(aws_lambda_function_url.this[*].function_url)
}

output "reserved_concurrency" {
  description = "Most calls answered at once; null without a reservation."
  value       = var.reserved_concurrency == -1 ? null : var.reserved_concurrency
}

output "timeout" {
  description = "Seconds after which Lambda ends a call; an alarm on slow calls is set against it."
  value       = aws_lambda_function.this.timeout
}

output "failed_events_queue_url" {
  description = "URL of the queue that holds events of failed asynchronous calls; null where the module makes none."
  value       = one(aws_sqs_queue.failed[*].url)
}

output "failed_events_queue_name" {
  description = "Name of that queue; null where the module makes none."
  value       = one(aws_sqs_queue.failed[*].name)
}

output "log_group_name" {
  description = "Name of the function's log group: aws logs tail NAME --follow."
  value       = aws_cloudwatch_log_group.this.name
}

output "role_name" {
  description = "Name of the function's role."
  value       = aws_iam_role.this.name
}

output "role_arn" {
  description = "ARN of the function's role."
  value       = aws_iam_role.this.arn
}
