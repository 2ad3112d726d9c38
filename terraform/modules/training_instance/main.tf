data "aws_ssm_parameter" "ami" {
  count = var.ami_id == null ? 1 : 0

  name = var.ami_ssm_parameter
}

# No inbound rule at all; out goes HTTPS only: S3, Systems Manager and the package index. Name resolution, time and
# instance metadata do not pass security groups.
resource "aws_security_group" "this" {
  name        = "${var.name}-training"
  description = "Training instance of ${var.name}: nothing in, HTTPS out"
  vpc_id      = var.vpc_id

  # An empty list, not an absent block: a rule that someone adds by hand is taken away again.
  ingress = []

  egress {
    description = "HTTPS"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_instance" "this" {
  ami                    = var.ami_id == null ? data.aws_ssm_parameter.ami[0].insecure_value : var.ami_id
  instance_type          = var.instance_type
  iam_instance_profile   = aws_iam_instance_profile.this.name
  subnet_id              = var.subnet_id
  vpc_security_group_ids = [aws_security_group.this.id]

  user_data_replace_on_change = true
  user_data = templatefile("${path.module}/user_data.sh.tftpl", {
    image                   = coalesce(var.ami_id, var.ami_ssm_parameter)
    work_dir                = "/opt/ml"
    region                  = var.region
    bucket                  = var.bucket
    data_prefix             = var.data_prefix
    runs_prefix             = var.runs_prefix
    training_package_s3_uri = var.training_package_s3_uri
    hyperparameters         = var.hyperparameters
    stop_when_done          = var.stop_when_done
  })

  # The script stops the machine when it is done, and the disk stays for a look at it.
  instance_initiated_shutdown_behavior = "stop"

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    encrypted   = true
    volume_type = "gp3"
    volume_size = var.volume_size
  }

  tags = { Name = "${var.name}-training" }

  depends_on = [aws_iam_role_policy.this]

  lifecycle {
    # "latest" moves about once a month, which is no reason to train again; `terraform apply -replace=ADDRESS` takes the
    # new image. The user data names what was asked for, so that asking for another image does replace the instance.
    ignore_changes = [ami]
  }
}
