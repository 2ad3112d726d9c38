locals {
  # https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html: "g" after the generation is Graviton.
  arm_types = "^(a1|[a-z]+-?[0-9]+g[a-z0-9-]*)\\."
  # Families with NVIDIA GPUs: https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html. G4ad has AMD's.
  gpu_types = "^(p[0-9]|gr?[0-9])"

  gpu_instance_types = [for type in local.instance_types : type if can(regex(local.gpu_types, type)) && !startswith(type, "g4ad.")]
  architecture       = can(regex(local.arm_types, var.instance_type)) ? "arm64" : "x86_64"

  # AWS's Deep Learning AMIs all carry NVIDIA's drivers and CUDA; for a processor there is plain Amazon Linux 2023, onto
  # which the script installs PyTorch.
  # https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html
  # https://docs.aws.amazon.com/linux/al2023/ug/ec2.html
  families = {
    gpu = {
      parameter   = "/aws/service/deeplearning/ami/${local.architecture}/oss-nvidia-driver-gpu-pytorch-2.10-ubuntu-24.04/latest/ami-id"
      volume_size = 100
    }
    cpu = {
      parameter   = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${local.architecture}"
      volume_size = 30
    }
  }

  family        = coalesce(var.ami_family, length(local.gpu_instance_types) > 0 ? "gpu" : "cpu")
  ami_parameter = coalesce(var.ami_ssm_parameter, local.families[local.family].parameter)
  image_id      = var.ami_id == null ? data.aws_ssm_parameter.ami[0].insecure_value : var.ami_id
  image         = coalesce(var.ami_id, local.ami_parameter)
  image_for_gpu = local.family == "gpu" || strcontains(local.image, "gpu")
  volume_size   = coalesce(var.volume_size, local.families[local.image_for_gpu ? "gpu" : "cpu"].volume_size)

  # A launch template's disk settings count only under the name that the image gives its root device.
  root_device_name = data.aws_ami.this.root_device_name

  # What the larger disk costs while the instance lives: gp3 in us-east-1, https://aws.amazon.com/ebs/pricing/ on
  # 2026-11-22, by the hour (AWS counts 730 hours a month). The instance's own price is the same with either image.
  gp3_usd_per_gib_month  = 0.08
  gpu_image_usd_per_hour = (local.families["gpu"].volume_size - local.families["cpu"].volume_size) * local.gp3_usd_per_gib_month / 730
}

data "aws_ssm_parameter" "ami" {
  count = var.ami_id == null ? 1 : 0

  name = local.ami_parameter
}

data "aws_ami" "this" {
  filter {
    name   = "image-id"
    values = [local.image_id]
  }
}

check "gpu_image_has_a_gpu" {
  assert {
    condition = !local.image_for_gpu || length(local.gpu_instance_types) == length(local.instance_types)
    error_message = join(" ", [
      "${join(", ", setsubtract(local.instance_types, local.gpu_instance_types))} has no NVIDIA GPU, and ${local.image} is built for one.",
      "Training runs on the processor; the image's drivers and CUDA lie unused and take a disk of ${local.families["gpu"].volume_size} GiB where ami_family = \"cpu\" has ${local.families["cpu"].volume_size}:",
      format("about %.4f USD an hour more (us-east-1, gp3), on top of the instance's price, which a t3.large has at 0.0832.", local.gpu_image_usd_per_hour),
    ])
  }
}

check "gpu_has_a_gpu_image" {
  assert {
    condition     = var.ami_id != null || local.image_for_gpu || length(local.gpu_instance_types) == 0
    error_message = "${join(", ", local.gpu_instance_types)} has a GPU, and ${local.image} no driver for it: the GPU is paid for and idle. Choose ami_family = \"gpu\", or a type without a GPU."
  }
}
