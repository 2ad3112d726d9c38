# AWS's own PyTorch container for CPU inference. 2.6.0 is the newest PyTorch that AWS publishes one for (training images
# go further): https://github.com/aws/deep-learning-containers/blob/master/available_images.md, read 2026-11-22.
# It starts TorchServe, which imports code/inference.py from the model archive. The toolkit reads SAGEMAKER_PROGRAM (the
# module) and always looks in /opt/ml/model/code, so SAGEMAKER_SUBMIT_DIRECTORY is not needed:
# https://github.com/aws/sagemaker-inference-toolkit/blob/master/src/sagemaker_inference/environment.py
data "aws_sagemaker_prebuilt_ecr_image" "stock" {
  # The provider keeps the registry account of each region, and answers without calling AWS.
  repository_name = "pytorch-inference"
  image_tag       = "2.6.0-cpu-py312-ubuntu22.04-sagemaker"
}
