locals {
  # What expires, and where; the rest is kept until someone deletes it.
  expirations = var.retention_days == null ? {} : {
    models       = tomap({ "checkpoints/" = var.retention_days.checkpoints })
    code         = tomap({})
    data_capture = tomap({ "" = var.retention_days.data_capture })
    logs         = tomap({ "" = var.retention_days.logs })
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  for_each = local.expirations

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    id     = "incomplete-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = var.retention_days.incomplete_uploads
    }
  }

  rule {
    id     = "noncurrent-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.retention_days.noncurrent
    }

    # A delete marker whose versions are all gone hides nothing.
    dynamic "expiration" {
      for_each = contains(keys(each.value), "") ? [] : [true]

      content {
        expired_object_delete_marker = true
      }
    }
  }

  dynamic "rule" {
    for_each = each.value

    content {
      id     = rule.key == "" ? "expire" : "expire-${trimsuffix(rule.key, "/")}"
      status = "Enabled"

      filter {
        prefix = rule.key
      }

      expiration {
        days = rule.value
      }
    }
  }
}
