# Which model each variant serves: an archive of this machine, an object in S3, or what an SSM parameter names.
locals {
  archives       = toset([for variant in local.variants : variant.model_archive if variant.model_archive != null])
  ssm_parameters = toset([for variant in local.variants : variant.model_ssm_parameter if variant.model_ssm_parameter != null])

  # The key holds the archive's hash: a changed archive is another object, which the endpoint takes up, and the old one
  # stays until nothing runs it. A file that is not there stops an apply (below), but not a destroy.
  archive_keys = {
    for archive in local.archives : archive =>
    "${try(var.model_upload.prefix, "")}${fileexists(archive) ? substr(filesha256(archive), 0, 16) : "missing"}/model.tar.gz"
  }

  model_s3_uris = {
    for name, variant in local.variants : name => (
      variant.model_archive != null ? "s3://${try(var.model_upload.bucket, "")}/${local.archive_keys[variant.model_archive]}" :
      variant.model_ssm_parameter != null ? data.aws_ssm_parameter.model[variant.model_ssm_parameter].insecure_value :
      variant.model_s3_uri
    )
  }

  # Beside the new model the old one is read for some minutes, by instances that start while the endpoint moves over. The
  # first folder of the key holds both.
  model_objects_arns = var.model_objects_arn != null ? [var.model_objects_arn] : distinct([
    for uri in values(local.model_s3_uris) :
    "arn:${data.aws_partition.this.partition}:s3:::${try(replace(trimprefix(uri, "s3://"), "/^([^/]+/[^/]+/).*$/", "$1*"), "")}"
  ])
}

data "aws_ssm_parameter" "model" {
  for_each = local.ssm_parameters

  name = each.key

  lifecycle {
    postcondition {
      condition     = self.insecure_value == null || can(regex("^s3://[^/]+/.+\\.tar\\.gz$", self.insecure_value))
      error_message = "SSM parameter ${each.key} does not hold the s3://BUCKET/KEY.tar.gz of a model yet. A training run writes it when it succeeds: train first."
    }
  }
}

resource "aws_s3_object" "model" {
  # checkov:skip=CKV_AWS_186:the bucket's default encryption holds, with the key that the bucket's owner chose
  for_each = local.archives

  bucket = try(var.model_upload.bucket, null)
  key    = local.archive_keys[each.key]
  source = each.key

  lifecycle {
    # The new archive is there before the endpoint moves, the old one until it has.
    create_before_destroy = true

    precondition {
      condition     = var.model_upload != null
      error_message = "${each.key} must be uploaded before SageMaker can load it: say where to with model_upload = { bucket = ... }."
    }

    precondition {
      condition     = fileexists(each.key)
      error_message = "${each.key} does not exist. Train first, or give model_s3_uri."
    }
  }
}
