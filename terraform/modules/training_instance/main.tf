data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

data "aws_region" "this" {}

# Instances and volumes that an Auto Scaling group launches do not get the provider's default tags by themselves:
# https://registry.terraform.io/providers/hashicorp/aws/latest/docs/data-sources/default_tags
data "aws_default_tags" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.id

  full_name      = "${var.name}-training"
  instance_types = concat([var.instance_type], var.spot == null ? [] : var.spot.other_instance_types)
  tags           = merge(data.aws_default_tags.this.tags, { Name = local.full_name })
}

resource "aws_launch_template" "this" {
  name                   = local.full_name
  description            = "Trains once and terminates itself"
  update_default_version = true

  image_id               = local.image_id
  instance_type          = var.instance_type
  vpc_security_group_ids = [aws_security_group.this.id]
  user_data              = base64encode(local.user_data)

  # The script ends with `shutdown`, and so does its time limit: neither leaves a machine or a disk behind.
  instance_initiated_shutdown_behavior = "terminate"

  iam_instance_profile {
    name = aws_iam_instance_profile.this.name
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = local.root_device_name

    ebs {
      encrypted             = true
      kms_key_id            = var.volume_kms_key_arn
      volume_type           = "gp3"
      volume_size           = local.volume_size
      delete_on_termination = true
    }
  }

  dynamic "tag_specifications" {
    for_each = ["instance", "volume", "network-interface"]

    content {
      resource_type = tag_specifications.value
      tags          = local.tags
    }
  }

  lifecycle {
    precondition {
      # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html
      condition     = length(local.user_data) <= 16384
      error_message = "The start script has ${length(local.user_data)} characters, and EC2 takes 16,384: give fewer or shorter hyperparameters."
    }

    precondition {
      condition     = length(distinct([for type in local.instance_types : can(regex(local.arm_types, type))])) == 1
      error_message = "Graviton (arm64) and x86_64 instance types need different images: choose types of one kind."
    }
  }
}

# Another package, image family or hyperparameter is another run; a newer release of the same image is none.
resource "terraform_data" "run" {
  triggers_replace = var.train_on_apply ? sha256(local.user_data) : "by hand"
}

# A group of none or one instance, not an instance: the group stays when the instance has terminated itself, so that the
# next plan is empty, and it replaces an instance that a spot interruption took away.
resource "aws_autoscaling_group" "this" {
  name                = local.full_name
  min_size            = 0
  max_size            = 1
  desired_capacity    = var.train_on_apply ? 1 : 0
  vpc_zone_identifier = local.subnet_ids

  health_check_type   = "EC2"
  metrics_granularity = "1Minute"
  enabled_metrics     = ["GroupDesiredCapacity", "GroupInServiceInstances"]

  # Spot capacity may take its time; whoever applies need not wait for it.
  wait_for_capacity_timeout = "0"

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = 0
      on_demand_percentage_above_base_capacity = var.spot == null ? 100 : 0
      on_demand_allocation_strategy            = "prioritized"
      spot_allocation_strategy                 = "price-capacity-optimized"
      spot_max_price                           = try(tostring(var.spot.max_usd_per_hour), null)
    }

    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.this.id
        version            = "$Latest"
      }

      dynamic "override" {
        for_each = local.instance_types

        content {
          instance_type = override.value
        }
      }
    }
  }

  dynamic "tag" {
    for_each = local.tags

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = false # the launch template tags instances, and their volumes as well
    }
  }

  # The first instance finds all that its script uses.
  depends_on = [aws_cloudwatch_log_group.this, aws_iam_role_policy.this, aws_ssm_parameter.model]

  lifecycle {
    # The instance takes itself out of the group when it is done; `set-desired-capacity` starts another run.
    ignore_changes       = [desired_capacity]
    replace_triggered_by = [terraform_data.run]

    precondition {
      condition     = length(local.subnet_ids) > 0
      error_message = "The default VPC of this region has no default subnet: give vpc."
    }
  }
}
