locals {
  log_group       = "/${var.name}/training"
  model_parameter = "/${var.name}/model-s3-uri"

  # Runs of the same code, settings and photos go on from each other's checkpoints.
  checkpoint_key = substr(sha256(jsonencode([var.training_package_s3_uri, var.hyperparameters, var.data_prefix])), 0, 16)

  settings = {
    AWS_DEFAULT_REGION          = local.region
    BUCKET                      = var.bucket
    DATA_PREFIX                 = var.data_prefix
    RUNS_PREFIX                 = var.runs_prefix
    CHECKPOINTS_PREFIX          = "${var.checkpoints_prefix}${local.checkpoint_key}/"
    CHECKPOINT_INTERVAL_SECONDS = var.checkpoint_interval_seconds
    PACKAGE_URI                 = var.training_package_s3_uri
    MODEL_PARAMETER             = local.model_parameter
    LOG_GROUP                   = local.log_group
    TIME_LIMIT_MINUTES          = var.time_limit_minutes
    TERMINATE_WHEN_DONE         = var.terminate_when_done
    TORCH_REQUIREMENTS          = join(" ", var.torch_requirements)
    PIP_INDEX_URL               = var.pip_index_url == null ? "" : var.pip_index_url
    FLAGS                       = join(" ", [for name, value in var.hyperparameters : "--${name}=${value}"])
  }

  # Validations keep quotes out of every value. The image is named so that asking for another one is another run.
  user_data = join("\n", concat(
    ["#!/bin/bash", "# Image: ${local.image}"],
    [for name, value in local.settings : "${name}='${value}'"],
    [file("${path.module}/train.sh")],
  ))

  # CloudWatch looks back a day at most over minutes, and a week over hours:
  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
  limit_period = var.time_limit_minutes <= 1440 ? 60 : 3600
}

resource "aws_cloudwatch_log_group" "this" {
  # checkov:skip=CKV_AWS_158:KMS is the caller's choice (kms_key_arn); CloudWatch Logs encrypts otherwise
  # checkov:skip=CKV_AWS_338:days are the caller's choice (log_retention_days); each run's log also stays in S3
  name              = local.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

# The module makes the parameter, so that it has an owner and goes with the stack; each successful run writes its value.
resource "aws_ssm_parameter" "model" {
  # checkov:skip=CKV2_AWS_34:an S3 address is no secret, and its readers would need the key
  # checkov:skip=CKV_AWS_337:the same
  name           = local.model_parameter
  description    = "S3 address of the newest model that training of ${var.name} has made; \"none\" before the first"
  type           = "String"
  insecure_value = "none"

  lifecycle {
    ignore_changes = [insecure_value]
  }
}

# The script has a time limit of its own. This one holds where the script cannot act (no network, no permission, a hung
# machine), and over all the instances that a spot run takes.
resource "aws_autoscaling_policy" "stop" {
  name                   = "${local.full_name}-time-limit"
  autoscaling_group_name = aws_autoscaling_group.this.name
  policy_type            = "SimpleScaling"
  adjustment_type        = "ExactCapacity"
  scaling_adjustment     = 0
  cooldown               = 60

  lifecycle {
    # AWS deletes a group's policies with the group, and the new group has the old one's name.
    replace_triggered_by = [terraform_data.run]
  }
}

resource "aws_cloudwatch_metric_alarm" "time_limit" {
  alarm_name        = "${local.full_name}-time-limit"
  alarm_description = "Training has run for ${var.time_limit_minutes} minutes. The alarm stops it."

  namespace   = "AWS/AutoScaling"
  metric_name = "GroupDesiredCapacity"
  dimensions  = { AutoScalingGroupName = aws_autoscaling_group.this.name }

  statistic           = "Minimum"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  period              = local.limit_period
  evaluation_periods  = ceil(var.time_limit_minutes * 60 / local.limit_period)
  treat_missing_data  = "notBreaching"

  alarm_actions = concat([aws_autoscaling_policy.stop.arn], var.alarm_actions)
}
