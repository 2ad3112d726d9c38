# Network, roles, instances, and the parameters that name their images.
variable "changed" {
  type = bool
}

data "aws_caller_identity" "this" {}

resource "aws_vpc" "this" {
  cidr_block           = "10.0.0.0/16"
  enable_dns_support   = true
  enable_dns_hostnames = var.changed
}

resource "aws_subnet" "this" {
  for_each = { a = 0, b = 1 }

  vpc_id                  = aws_vpc.this.id
  cidr_block              = cidrsubnet(aws_vpc.this.cidr_block, 8, each.value)
  availability_zone       = "us-east-1${each.key}"
  map_public_ip_on_launch = var.changed
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_eip" "this" {
  domain = "vpc"
}

resource "aws_nat_gateway" "this" {
  allocation_id = aws_eip.this.id
  subnet_id     = aws_subnet.this["a"].id

  depends_on = [aws_internet_gateway.this]
}

resource "aws_route_table" "this" {
  vpc_id = aws_vpc.this.id

  route {
    cidr_block     = "0.0.0.0/0"
    gateway_id     = var.changed ? null : aws_internet_gateway.this.id
    nat_gateway_id = var.changed ? aws_nat_gateway.this.id : null
  }
}

resource "aws_route_table_association" "this" {
  for_each = aws_subnet.this

  subnet_id      = each.value.id
  route_table_id = aws_route_table.this.id
}

resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_flow_log" "this" {
  vpc_id                   = aws_vpc.this.id
  traffic_type             = "REJECT"
  iam_role_arn             = aws_iam_role.this.arn
  log_destination          = aws_cloudwatch_log_group.this.arn
  max_aggregation_interval = 60
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/matrix-compute/vpc"
  retention_in_days = var.changed ? 14 : 7
}

resource "aws_security_group" "this" {
  name        = "matrix-compute"
  description = "Instances"
  vpc_id      = aws_vpc.this.id
  ingress     = []

  egress {
    description = "HTTPS"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = [var.changed ? "10.0.0.0/8" : "0.0.0.0/0"]
  }
}

resource "aws_security_group" "endpoints" {
  name        = "matrix-compute-endpoints"
  description = "VPC endpoints"
  vpc_id      = aws_vpc.this.id
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  security_group_id            = aws_security_group.endpoints.id
  referenced_security_group_id = aws_security_group.this.id
  description                  = var.changed ? "HTTPS of the instances" : "HTTPS"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "endpoints" {
  security_group_id = aws_security_group.endpoints.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = var.changed ? "tcp" : "-1"
  from_port         = var.changed ? 443 : null
  to_port           = var.changed ? 443 : null
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.us-east-1.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = var.changed ? [aws_route_table.this.id] : []
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = "*"
      Action    = var.changed ? ["s3:GetObject", "s3:PutObject"] : ["s3:GetObject"]
      Resource  = "*"
    }]
  })
}

resource "aws_vpc_endpoint" "runtime" {
  vpc_id              = aws_vpc.this.id
  service_name        = "com.amazonaws.us-east-1.sagemaker.runtime"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = var.changed
  subnet_ids          = var.changed ? values(aws_subnet.this)[*].id : [aws_subnet.this["a"].id]
  security_group_ids  = var.changed ? [aws_security_group.endpoints.id, aws_security_group.this.id] : [aws_security_group.endpoints.id]
}

resource "aws_iam_policy" "boundary" {
  name = "matrix-compute-boundary"
  path = "/whippet/"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = var.changed ? ["s3:*", "logs:*"] : ["s3:*"]
      Resource = "*"
    }]
  })
}

resource "aws_iam_role" "this" {
  name                 = "matrix-compute"
  path                 = "/whippet/"
  description          = var.changed ? "the second" : "the first"
  max_session_duration = var.changed ? 7200 : 3600
  permissions_boundary = var.changed ? aws_iam_policy.boundary.arn : null
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = var.changed ? ["ec2.amazonaws.com", "lambda.amazonaws.com"] : ["ec2.amazonaws.com"] }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.this.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name = "inline"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = var.changed ? ["s3:GetObject", "s3:PutObject"] : ["s3:GetObject"]
      Resource = "arn:aws:s3:::matrix-compute/*"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "managed" {
  role       = aws_iam_role.this.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_role_policy_attachment" "own" {
  role       = aws_iam_role.this.name
  policy_arn = aws_iam_policy.boundary.arn
}

resource "aws_iam_instance_profile" "this" {
  name = "matrix-compute"
  role = aws_iam_role.this.name
}

resource "aws_iam_openid_connect_provider" "this" {
  url             = "https://token.actions.githubusercontent.com"
  client_id_list  = var.changed ? ["sts.amazonaws.com", "other"] : ["sts.amazonaws.com"]
  thumbprint_list = [var.changed ? "7560d6f40fa55195f740ee2b1b7c0b4836cbe103" : "6938fd4d98bab03faadb97b34396831e3780aea1"]
}

resource "aws_iam_role" "deploy" {
  name = "matrix-compute-deploy"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = aws_iam_openid_connect_provider.this.arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = { "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com" }
        StringLike   = { "token.actions.githubusercontent.com:sub" = "repo:org/repo:*" }
      }
    }]
  })
}

resource "aws_iam_policy" "deploy" {
  name        = "matrix-compute-deploy"
  description = "Passes roles"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "iam:PassRole"
      Resource  = aws_iam_role.this.arn
      Condition = { StringEquals = { "iam:PassedToService" = var.changed ? "ec2.amazonaws.com" : "sagemaker.amazonaws.com" } }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "deploy" {
  role       = aws_iam_role.deploy.name
  policy_arn = aws_iam_policy.deploy.arn
}

data "aws_ssm_parameter" "image" {
  for_each = toset([
    "x86_64/oss-nvidia-driver-gpu-pytorch-2.5-ubuntu-22.04",
    "x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023",
    "arm64/oss-nvidia-driver-gpu-pytorch-2.7-ubuntu-22.04",
  ])

  name = "/aws/service/deeplearning/ami/${each.key}/latest/ami-id"
}

data "aws_ami" "image" {
  most_recent = true
  owners      = ["amazon"]

  filter {
    name   = "name"
    values = ["Deep Learning OSS Nvidia Driver AMI GPU PyTorch 2.5*(Ubuntu 22.04) *"]
  }

  filter {
    name   = "architecture"
    values = ["x86_64"]
  }

  lifecycle {
    postcondition {
      condition     = self.id == local.image
      error_message = "The parameter and the name lead to different images."
    }
  }
}

locals {
  image = data.aws_ssm_parameter.image["x86_64/oss-nvidia-driver-gpu-pytorch-2.5-ubuntu-22.04"].insecure_value
}

resource "aws_ssm_parameter" "this" {
  name        = "/matrix-compute/model"
  type        = "String"
  value       = var.changed ? "s3://b/model.tar.gz" : "s3://a/model.tar.gz"
  description = var.changed ? "The newer model" : "The model"
}

resource "aws_ssm_parameter" "advanced" {
  name            = "/matrix-compute/advanced"
  type            = "StringList"
  tier            = var.changed ? "Advanced" : "Standard"
  insecure_value  = var.changed ? "a,b" : "a"
  allowed_pattern = var.changed ? "^[a-z,]+$" : "^[a-z]+$"
}

resource "aws_launch_template" "this" {
  name                                 = "matrix-compute"
  description                          = var.changed ? "the second" : "the first"
  update_default_version               = true
  image_id                             = local.image
  instance_type                        = var.changed ? "g4dn.2xlarge" : "g4dn.xlarge"
  ebs_optimized                        = true
  instance_initiated_shutdown_behavior = "terminate"
  user_data                            = base64encode(var.changed ? "#!/bin/sh\necho second" : "#!/bin/sh\necho first")

  iam_instance_profile {
    arn = aws_iam_instance_profile.this.arn
  }

  instance_market_options {
    market_type = "spot"

    spot_options {
      instance_interruption_behavior = "terminate"
      max_price                      = var.changed ? "0.6" : "0.5"
      spot_instance_type             = "one-time"
    }
  }

  block_device_mappings {
    device_name = "/dev/sda1"

    ebs {
      volume_size           = var.changed ? 120 : 100
      volume_type           = "gp3"
      encrypted             = true
      delete_on_termination = true
    }
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = var.changed ? 2 : 1
    instance_metadata_tags      = "enabled"
  }

  monitoring {
    enabled = var.changed
  }

  network_interfaces {
    associate_public_ip_address = false
    security_groups             = [aws_security_group.this.id]
    subnet_id                   = aws_subnet.this["a"].id
  }

  tag_specifications {
    resource_type = "instance"
    tags          = { Name = var.changed ? "second" : "first" }
  }

  tag_specifications {
    resource_type = "volume"
    tags          = { Name = "training" }
  }
}

resource "aws_instance" "on_demand" {
  ami                                  = local.image
  instance_type                        = var.changed ? "t3.large" : "t3.medium"
  subnet_id                            = aws_subnet.this["a"].id
  vpc_security_group_ids               = var.changed ? [aws_security_group.this.id, aws_security_group.endpoints.id] : [aws_security_group.this.id]
  iam_instance_profile                 = aws_iam_instance_profile.this.name
  instance_initiated_shutdown_behavior = var.changed ? "terminate" : "stop"
  disable_api_termination              = false
  monitoring                           = var.changed

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = var.changed ? "required" : "optional"
    http_put_response_hop_limit = var.changed ? 1 : 2
    instance_metadata_tags      = var.changed ? "enabled" : "disabled"
  }
}

# Apart from the change of the type, because the provider stops and starts an instance for each of both.
resource "aws_instance" "scripted" {
  ami           = local.image
  instance_type = "t3.medium"
  subnet_id     = aws_subnet.this["a"].id
  user_data     = var.changed ? "#!/bin/sh\necho second" : "#!/bin/sh\necho first"
}

resource "aws_instance" "templated" {
  launch_template {
    id      = aws_launch_template.this.id
    version = "1"
  }

  lifecycle {
    # The provider hashes the template's user data twice: https://github.com/hashicorp/terraform-provider-aws/issues/39476
    ignore_changes = [user_data]
  }
}

resource "aws_instance" "spot" {
  ami           = local.image
  instance_type = "g4dn.xlarge"
  subnet_id     = aws_subnet.this["a"].id

  instance_market_options {
    market_type = "spot"

    spot_options {
      max_price          = "0.5"
      spot_instance_type = "one-time"
    }
  }
}

resource "aws_instance" "no_subnet" {
  ami                    = local.image
  instance_type          = "t3.large"
  vpc_security_group_ids = [aws_security_group.default.id]

  metadata_options {
    http_tokens = "required"
  }

  root_block_device {
    encrypted   = true
    volume_type = "gp3"
    volume_size = var.changed ? 120 : 100
    iops        = var.changed ? 4000 : 3000
    throughput  = var.changed ? 200 : 125
  }

  lifecycle {
    # The provider sets default tags on volumes only at creation: https://github.com/hashicorp/terraform-provider-aws/issues/38301
    ignore_changes = [root_block_device[0].tags]
  }
}

# In the account's default VPC.
resource "aws_security_group" "default" {
  name    = "matrix-compute-default"
  ingress = []
}
