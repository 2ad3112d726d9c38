locals {
  # Each graph: its title, the unit of its axis, and its lines as CloudWatch writes them: namespace, metric, dimensions,
  # options. "." repeats what the line above has.
  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
  of_function = flatten([for key, value in local.function : [key, value]])
  of_variant  = flatten([for key, value in local.variant : [key, value]])

  function_graphs = [
    {
      title = "Lambda: calls"
      unit  = "per minute"
      lines = [
        concat(["AWS/Lambda", "Invocations"], local.of_function, [{ stat = "Sum" }]),
        concat(["AWS/Lambda", "Errors"], local.of_function, [{ stat = "Sum", color = "#d62728" }]),
        concat(["AWS/Lambda", "Throttles"], local.of_function, [{ stat = "Sum", color = "#ff7f0e" }]),
      ]
    },
    {
      title = "Lambda: duration (timeout ${var.function_timeout} s)"
      unit  = "ms"
      lines = [for statistic in ["p50", "p99", "Maximum"] : concat(["AWS/Lambda", "Duration"], local.of_function, [{ stat = statistic, label = statistic }])]
    },
    {
      title = "Lambda: calls at once"
      unit  = "calls"
      lines = [concat(["AWS/Lambda", "ConcurrentExecutions"], local.of_function, [{ stat = "Maximum" }])]
    },
  ]
  endpoint_graphs = [
    {
      title = "Endpoint: invocations"
      unit  = "per minute"
      lines = [
        concat(["AWS/SageMaker", "Invocations"], local.of_variant, [{ stat = "Sum" }]),
        concat(["AWS/SageMaker", "Invocation4XXErrors"], local.of_variant, [{ stat = "Sum", color = "#ff7f0e" }]),
        concat(["AWS/SageMaker", "Invocation5XXErrors"], local.of_variant, [{ stat = "Sum", color = "#d62728" }]),
      ]
    },
    {
      title = "Endpoint: latency"
      unit  = "µs"
      lines = concat(
        [for statistic in ["p50", "p99"] : concat(["AWS/SageMaker", "ModelLatency"], local.of_variant, [{ stat = statistic, label = "model ${statistic}" }])],
        [concat(["AWS/SageMaker", "OverheadLatency"], local.of_variant, [{ stat = "p99", label = "overhead p99" }])],
      )
    },
  ]
  instance_graphs = [
    {
      title = "Endpoint: instances, while there are calls"
      unit  = "instances"
      lines = [
        [{ expression = "invocations / per_instance", label = "Instances" }],
        concat(["AWS/SageMaker", "Invocations"], local.of_variant, [{ stat = "Sum", id = "invocations", visible = false }]),
        concat(["AWS/SageMaker", "InvocationsPerInstance"], local.of_variant, [{ stat = "Sum", id = "per_instance", visible = false }]),
      ]
    },
    {
      title = "Endpoint: utilization (${var.endpoint_vcpus * 100} % is all of an instance's processors)"
      unit  = "%"
      lines = [for metric in ["CPUUtilization", "MemoryUtilization"] : concat(["/aws/sagemaker/Endpoints", metric], local.of_variant, [{ stat = "Average" }])]
    },
  ]
  graphs = concat(
    [for graph in local.function_graphs : graph if local.has_function],
    [for graph in local.endpoint_graphs : graph if local.has_endpoint],
    [for graph in local.instance_graphs : graph if local.has_instances],
  )

  alarm_arns = [for key in local.alarms : "arn:${local.partition}:cloudwatch:${local.region}:${local.account}:alarm:${local.names[key]}"]

  # The console of each partition: https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
  consoles = { aws = "console.aws.amazon.com", aws-cn = "console.amazonaws.cn", aws-us-gov = "console.amazonaws-us-gov.com" }
}

resource "aws_cloudwatch_dashboard" "this" {
  count = var.create_dashboard ? 1 : 0

  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = concat(
      [for arns in [local.alarm_arns] : {
        type       = "alarm"
        x          = 0
        y          = 0
        width      = 24
        height     = 3
        properties = { title = "Alarms of ${var.name}", alarms = arns }
      } if length(arns) > 0],
      [for index, graph in local.graphs : {
        type   = "metric"
        x      = index % 3 * 8
        y      = 3 + floor(index / 3) * 6
        width  = 8
        height = 6
        properties = {
          title   = graph.title
          region  = local.region
          view    = "timeSeries"
          period  = 60
          metrics = graph.lines
          yAxis   = { left = { min = 0, label = graph.unit, showUnits = false } }
        }
      }],
    )
  })
}
