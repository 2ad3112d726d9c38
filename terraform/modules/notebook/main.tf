resource "aws_sagemaker_notebook_instance" "this" {
  name                   = var.name
  role_arn               = aws_iam_role.this.arn
  instance_type          = var.instance_type
  volume_size            = var.volume_size
  platform_identifier    = "notebook-al2-v3"
  root_access            = "Disabled"
  direct_internet_access = var.direct_internet_access ? "Enabled" : "Disabled"
  subnet_id              = var.subnet_id
  security_groups        = var.security_group_ids

  instance_metadata_service_configuration {
    minimum_instance_metadata_service_version = "2"
  }

  depends_on = [aws_iam_role_policy.this]
}
