output "alarm_names" {
  description = "Names of the alarms by what they watch: lambda_errors, lambda_throttles, lambda_duration, endpoint_5xx, endpoint_latency, endpoint_cpu, endpoint_no_instance, endpoint_at_maximum. Known in the plan."
  value       = { for key in local.alarms : key => local.names[key] }

  # Whoever names an alarm finds it.
  depends_on = [aws_cloudwatch_metric_alarm.this, aws_cloudwatch_metric_alarm.at_maximum]
}

output "rollback_alarm_names" {
  description = "Names of the alarms that tell a bad model from a good one, for the endpoint's deployment.rollback_alarm_names: 5xx answers and latency. The others ring for load, or for an endpoint that is not there yet."
  value       = [for key in ["endpoint_5xx", "endpoint_latency"] : local.names[key] if contains(local.alarms, key)]

  depends_on = [aws_cloudwatch_metric_alarm.this]
}

output "topic_arn" {
  description = "ARN of the topic that hears of alarms and of the budget; null without topic."
  value       = one(aws_sns_topic.this[*].arn)
}

output "dashboard_name" {
  description = "Name of the dashboard; null without create_dashboard."
  value       = one(aws_cloudwatch_dashboard.this[*].dashboard_name)
}

output "dashboard_url" {
  description = "Where the console shows the dashboard; null without create_dashboard."
  value       = var.create_dashboard ? "https://${local.region}.${lookup(local.consoles, local.partition, local.consoles.aws)}/cloudwatch/home?region=${local.region}#dashboards/dashboard/${var.name}" : null
}

output "budget_name" {
  description = "Name of the budget; null without budget."
  value       = one(aws_budgets_budget.this[*].name)
}
