locals {
  # A key holds its content's hash: new bytes make a new key, so that a new model makes a new SageMaker model and
  # endpoint configuration. While a file is missing the precondition below speaks, not a function's own error.
  objects = {
    for kind, object in {
      models   = { bucket = "models", file = var.model_archive }
      training = { bucket = "code", file = var.training_package }
      lambda   = { bucket = "code", file = var.lambda_package }
      } : kind => {
      bucket = object.bucket
      file   = object.file
      key    = "${kind}/${fileexists(object.file) ? substr(filesha256(object.file), 0, 16) : "missing"}/${basename(object.file)}"
    } if object.file != null
  }

  uris = { for kind, object in local.objects : kind => "s3://${local.buckets[object.bucket]}/${object.key}" }
}

resource "aws_s3_object" "this" {
  for_each = local.objects

  bucket = aws_s3_bucket.this[each.value.bucket].bucket
  key    = each.value.key
  source = each.value.file

  # An object is uploaded only into a bucket that is already encrypted, versioned and closed.
  depends_on = [
    aws_s3_bucket_ownership_controls.this,
    aws_s3_bucket_policy.this,
    aws_s3_bucket_server_side_encryption_configuration.this,
    aws_s3_bucket_versioning.this,
  ]

  lifecycle {
    # The old model stays until the endpoint no longer needs it: an instance that starts reads it again.
    create_before_destroy = true

    precondition {
      condition     = fileexists(each.value.file)
      error_message = "${each.value.file} does not exist. Build it first: `whippet train DIR` writes the model, `python scripts/build_training.py` the training package, `python scripts/build_single_hop.py` the Lambda that holds the model."
    }
  }
}
