locals {
  vpc_id     = var.vpc == null ? data.aws_vpc.default[0].id : var.vpc.id
  subnet_ids = var.vpc == null ? data.aws_subnets.default[0].ids : var.vpc.subnet_ids
}

data "aws_vpc" "default" {
  count = var.vpc == null ? 1 : 0

  default = true
}

data "aws_subnets" "default" {
  count = var.vpc == null ? 1 : 0

  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.default[0].id]
  }

  filter {
    name   = "default-for-az"
    values = ["true"]
  }
}

# No inbound rule at all; out goes HTTPS only: S3, Systems Manager, CloudWatch and the package index. Name resolution,
# time and instance metadata do not pass security groups.
resource "aws_security_group" "this" {
  name        = local.full_name
  description = "Training instance of ${var.name}: nothing in, HTTPS out"
  vpc_id      = local.vpc_id

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
