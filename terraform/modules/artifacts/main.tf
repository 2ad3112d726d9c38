data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

data "aws_region" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.id

  # Names and ARNs are written out, not read from the buckets, so that a plan shows every policy in full.
  buckets     = { for purpose in ["models", "code", "data_capture", "logs"] : purpose => "${var.name}-${local.account}-${replace(purpose, "_", "-")}" }
  bucket_arns = { for purpose, bucket in local.buckets : purpose => "arn:${local.partition}:s3:::${bucket}" }

  # Where each bucket's access logs go in the logs bucket, which does not log itself.
  access_log_prefixes = { for purpose in keys(local.buckets) : purpose => "s3-access/${purpose}/" if purpose != "logs" }
}

resource "aws_s3_bucket" "this" {
  for_each = local.buckets

  # checkov:skip=CKV_AWS_18:three buckets log into the fourth; AWS advises against a log bucket that logs itself
  # checkov:skip=CKV_AWS_144:one region; what lies here is rebuilt by training and by CI
  # checkov:skip=CKV_AWS_145:KMS is the caller's choice (create_kms_key, kms_key_arn); SSE-S3 encrypts otherwise
  # checkov:skip=CKV2_AWS_62:nothing waits for an object here; a caller adds aws_s3_bucket_notification to the bucket
  bucket        = each.value
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id

  rule {
    # S3 keeps a short-lived bucket key instead of asking KMS for each object:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html
    bucket_key_enabled = local.encrypted_by_kms[each.key]

    apply_server_side_encryption_by_default {
      sse_algorithm     = local.encrypted_by_kms[each.key] ? "aws:kms" : "AES256"
      kms_master_key_id = local.encrypted_by_kms[each.key] ? local.kms_key_arn : null
    }
  }
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_logging" "this" {
  for_each = local.access_log_prefixes

  bucket        = aws_s3_bucket.this[each.key].id
  target_bucket = aws_s3_bucket.this["logs"].id
  target_prefix = each.value

  # S3 checks that it may write there.
  depends_on = [aws_s3_bucket_policy.this]
}
