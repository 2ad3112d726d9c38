locals {
  # A key holds its content's hash: new bytes make a new key, so that a new model makes a new SageMaker model and
  # endpoint configuration. While a file is missing the precondition below speaks, not a function's own error.
  objects = {
    for kind, file in { models = var.model_archive, training = var.training_package } : kind => {
      file                     = file
      key                      = "${kind}/${fileexists(file) ? substr(filesha256(file), 0, 16) : "missing"}/${basename(file)}"
    }
  }
}

resource "aws_s3_bucket" "this" {
  bucket        = var.bucket
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket = aws_s3_bucket.this.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "DenyPlainHttp"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  # S3 answers OperationAborted when both are written at once.
  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_object" "this" {
  for_each = local.objects

  bucket = aws_s3_bucket.this.bucket
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
      error_message = "${each.value.file} does not exist. Build it first: `whippet train DIR` writes the model, `python scripts/build_training.py` the training package."
    }
  }
}
