data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.id

  # A key holds its content's hash, so that a changed notebook is another object and the start script another one too.
  notebooks = {
    for file in var.notebook_files : basename(file) => {
      file = file
      key  = "${var.notebooks_prefix}${fileexists(file) ? substr(filesha256(file), 0, 16) : "missing"}/${basename(file)}"
    }
  }

  on_start = templatefile("${path.module}/files/on_start.sh.tftpl", {
    region         = local.region
    notebook       = var.name
    idle_minutes   = var.idle_minutes
    stop_when_idle = file("${path.module}/files/stop_when_idle.py")
    uris           = [for notebook in local.notebooks : "s3://${var.bucket}/${notebook.key}"]
    home           = "/home/ec2-user/SageMaker"
    root           = ""
  })
}

resource "aws_s3_object" "notebook" {
  for_each = local.notebooks

  bucket = var.bucket
  key    = each.value.key
  source = each.value.file

  lifecycle {
    # The old one stays until the start script names the new one.
    create_before_destroy = true

    precondition {
      condition     = fileexists(each.value.file)
      error_message = "The notebook ${each.value.file} does not exist: notebook_files are paths on the machine that runs Terraform."
    }
  }
}

# Runs as root at each start, and must end within five minutes:
# https://docs.aws.amazon.com/sagemaker/latest/dg/notebook-lifecycle-config.html
resource "aws_sagemaker_notebook_instance_lifecycle_configuration" "this" {
  # A notebook takes up another configuration while it is stopped, so its successor must be there before.
  name     = "${var.name}-${substr(sha256(local.on_start), 0, 7)}"
  on_start = base64encode(local.on_start)

  lifecycle {
    create_before_destroy = true

    precondition {
      condition     = length(base64encode(local.on_start)) <= 16384
      error_message = "The start script has ${length(base64encode(local.on_start))} characters, and SageMaker takes 16384: name fewer notebook_files."
    }
  }
}

resource "aws_sagemaker_notebook_instance" "this" {
  name                  = var.name
  role_arn              = aws_iam_role.this.arn
  instance_type         = var.instance_type
  volume_size           = var.volume_size
  kms_key_id            = var.kms_key_arn
  platform_identifier   = "notebook-al2-v3"
  lifecycle_config_name = aws_sagemaker_notebook_instance_lifecycle_configuration.this.name
  root_access           = "Disabled"

  # In a VPC it goes where the subnet leads, and nowhere else.
  direct_internet_access = var.subnet_id == null ? "Enabled" : "Disabled"
  subnet_id              = var.subnet_id
  security_groups        = var.security_group_ids

  instance_metadata_service_configuration {
    minimum_instance_metadata_service_version = "2"
  }

  depends_on = [aws_iam_role_policy.this, aws_s3_object.notebook]
}
