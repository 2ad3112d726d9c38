# Trains at apply on spot capacity, in a VPC of its own, with an own key.

provider "aws" {
  region = "us-east-1"
}

variable "name" {
  description = "Start of the names of what the module makes."
  type        = string
  default     = "training-complete"
}

variable "time_limit_minutes" {
  description = "Minutes after which the run ends whatever happens."
  type        = number
  default     = 90
}

variable "log_retention_days" {
  description = "Days that the runs' logs are kept."
  type        = number
  default     = 7
}

resource "aws_vpc" "this" {
  # checkov:skip=CKV2_AWS_11:a stand-in for your VPC, which has flow logs
  # checkov:skip=CKV2_AWS_12:a stand-in for your VPC; nothing here is in its default security group
  cidr_block = "10.20.0.0/16"

  tags = { Name = var.name }
}

# Instances reach S3 and AWS's other services through your NAT gateway or VPC endpoints, which this example leaves out.
resource "aws_subnet" "private" {
  for_each = { us-east-1a = "10.20.0.0/24", us-east-1b = "10.20.1.0/24" }

  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = each.value

  tags = { Name = "${var.name}-${each.key}" }
}

module "artifacts" {
  source = "../../../artifacts"

  name                         = var.name
  force_destroy                = true
  training_package             = "${path.module}/training.tar.gz"
  create_kms_key               = true
  kms_key_deletion_window_days = 7
  retention_days               = null
}

module "training" {
  source = "../.."

  name                    = var.name
  bucket                  = module.artifacts.bucket
  training_package_s3_uri = module.artifacts.training_package_s3_uri
  kms_key_arn             = module.artifacts.kms_key_arn
  kms_key_alias           = module.artifacts.kms_key_alias

  spot = {
    max_usd_per_hour     = 0.08
    other_instance_types = ["t3a.large", "m6i.large"]
  }

  vpc = {
    id         = aws_vpc.this.id
    subnet_ids = [for subnet in aws_subnet.private : subnet.id]
  }

  hyperparameters    = { seed = "7", epochs = "40" }
  time_limit_minutes = var.time_limit_minutes
  log_retention_days = var.log_retention_days
}

output "logs_command" {
  description = "Follows the run."
  value       = module.training.logs_command
}

output "model_parameter_name" {
  description = "Where the model's address is when the run has ended."
  value       = module.training.model_parameter_name
}
