# AWS's own PyTorch containers for inference, for CPU and for GPU. 2.6.0 is the newest PyTorch that AWS publishes one for
# (training images go further): https://github.com/aws/deep-learning-containers/blob/master/available_images.md, read
# 2026-11-22. They start TorchServe, which imports code/inference.py from the model archive. The toolkit reads
# SAGEMAKER_PROGRAM (the module) and always looks in /opt/ml/model/code, so SAGEMAKER_SUBMIT_DIRECTORY is not needed:
# https://github.com/aws/sagemaker-inference-toolkit/blob/master/src/sagemaker_inference/environment.py
locals {
  stock_tags = {
    "2.6.0" = { cpu = "2.6.0-cpu-py312-ubuntu22.04-sagemaker", gpu = "2.6.0-gpu-py312-cu124-ubuntu22.04-sagemaker" }
    "2.5.1" = { cpu = "2.5.1-cpu-py311-ubuntu22.04-sagemaker", gpu = "2.5.1-gpu-py311-cu124-ubuntu22.04-sagemaker" }
    "2.4.0" = { cpu = "2.4.0-cpu-py311-ubuntu22.04-sagemaker", gpu = "2.4.0-gpu-py311-cu124-ubuntu22.04-sagemaker" }
  }

  # What a variant's instance computes with. Instance types name it: ml.g5 and ml.p4d have NVIDIA GPUs; ml.inf2 and
  # ml.trn1 have AWS's own accelerators, and ml.c7g and the like Arm cores, for which the stock container is another one.
  processors = {
    for name, variant in local.variants : name => (
      variant.instance_type == null ? "cpu" :
      can(regex("^ml\\.(g|p)\\d", variant.instance_type)) ? "gpu" :
      can(regex("^ml\\.(inf|trn)\\d", variant.instance_type)) ? "neuron" :
      can(regex("^ml\\.[cmr]\\d+g[dn]*\\.", variant.instance_type)) ? "arm" : "cpu"
    )
  }

  images = {
    for name, variant in local.variants : name => (
      variant.image != null ? variant.image : try(data.aws_sagemaker_prebuilt_ecr_image.stock[local.processors[name]].registry_path, null)
    )
  }
}

data "aws_sagemaker_prebuilt_ecr_image" "stock" {
  for_each = toset([for name, variant in local.variants : local.processors[name] if variant.image == null && contains(["cpu", "gpu"], local.processors[name])])

  # The provider keeps the registry account of each region, and answers without calling AWS.
  repository_name = "pytorch-inference"
  image_tag       = local.stock_tags[var.pytorch_version][each.key]
}
