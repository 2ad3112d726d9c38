# Buckets with everything that can be set on them, keys, queues, topics and a budget.
variable "changed" {
  type = bool
}

data "aws_caller_identity" "this" {}

resource "aws_kms_key" "this" {
  description             = var.changed ? "the second" : "the first"
  deletion_window_in_days = var.changed ? 10 : 7
  enable_key_rotation     = var.changed
  rotation_period_in_days = var.changed ? 180 : null
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid       = "Account"
        Effect    = "Allow"
        Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.this.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*"
      }],
      var.changed ? [{
        Sid       = "Logs"
        Effect    = "Allow"
        Principal = { Service = "logs.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
        Resource  = "*"
      }] : [],
    )
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/matrix-storage"
  target_key_id = var.changed ? aws_kms_key.other.key_id : aws_kms_key.this.key_id
}

resource "aws_kms_key" "other" {
  is_enabled              = !var.changed
  deletion_window_in_days = 7
}

resource "aws_s3_bucket" "this" {
  bucket        = "matrix-storage-data"
  force_destroy = var.changed
}

resource "aws_s3_bucket" "logs" {
  bucket        = "matrix-storage-logs"
  force_destroy = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = var.changed ? "BucketOwnerEnforced" : "BucketOwnerPreferred"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket = aws_s3_bucket.this.id

  block_public_acls       = true
  block_public_policy     = var.changed
  ignore_public_acls      = true
  restrict_public_buckets = var.changed
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = var.changed ? "Suspended" : "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    bucket_key_enabled = var.changed

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.changed ? "aws:kms" : "AES256"
      kms_master_key_id = var.changed ? aws_kms_key.this.arn : null
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    id     = "noncurrent"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days           = var.changed ? 60 : 30
      newer_noncurrent_versions = var.changed ? 3 : null
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = var.changed ? 3 : 7
    }
  }

  rule {
    id     = "captured"
    status = var.changed ? "Disabled" : "Enabled"

    filter {
      prefix = "capture/"
    }

    expiration {
      days = 90
    }

    transition {
      days          = var.changed ? 45 : 30
      storage_class = "STANDARD_IA"
    }
  }

  rule {
    id     = "runs"
    status = "Enabled"

    filter {
      and {
        prefix                   = "runs/"
        object_size_greater_than = 1024
        tags                     = { kind = "run" }
      }
    }

    expiration {
      days = 10
    }
  }
}

resource "aws_s3_bucket_logging" "this" {
  bucket        = aws_s3_bucket.this.id
  target_bucket = aws_s3_bucket.logs.id
  target_prefix = var.changed ? "access/" : "log/"

  # S3 checks that the logging service may write there.
  depends_on = [aws_s3_bucket_policy.logs]
}

resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = var.changed ? "DenyPlainHttp" : "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_bucket_policy" "logs" {
  bucket = aws_s3_bucket.logs.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "logging.s3.amazonaws.com" }
      Action    = "s3:PutObject"
      Resource  = "${aws_s3_bucket.logs.arn}/${var.changed ? "access" : "log"}/*"
      Condition = {
        ArnLike      = { "aws:SourceArn" = aws_s3_bucket.this.arn }
        StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.this.account_id }
      }
    }]
  })
}

resource "aws_s3_bucket_notification" "this" {
  bucket = aws_s3_bucket.this.id

  queue {
    id            = "photos"
    queue_arn     = aws_sqs_queue.this.arn
    events        = var.changed ? ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"] : ["s3:ObjectCreated:*"]
    filter_prefix = "data/"
    filter_suffix = var.changed ? ".jpeg" : ".jpg"
  }

  topic {
    id        = "models"
    topic_arn = aws_sns_topic.this.arn
    events    = ["s3:ObjectCreated:Put"]
  }

  depends_on = [aws_sns_topic_policy.this]
}

resource "aws_s3_bucket_cors_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  cors_rule {
    allowed_methods = ["GET"]
    allowed_origins = [var.changed ? "https://b.example" : "https://a.example"]
    max_age_seconds = 60
  }
}

resource "aws_s3_object" "this" {
  bucket        = aws_s3_bucket.this.bucket
  key           = "models/model.json"
  content       = var.changed ? "{\"id\": 2}" : "{\"id\": 1}"
  content_type  = var.changed ? "application/json" : "text/plain"
  cache_control = var.changed ? "max-age=60" : null
  metadata      = { step = var.changed ? "second" : "first" }
  storage_class = var.changed ? "STANDARD_IA" : "STANDARD"

  # An object takes ten tags and the default ones count.
  tags = { kind = "model" }

  depends_on = [
    aws_s3_bucket_ownership_controls.this,
    aws_s3_bucket_policy.this,
    aws_s3_bucket_server_side_encryption_configuration.this,
    aws_s3_bucket_versioning.this,
  ]
}

resource "aws_s3_object" "encrypted" {
  bucket                 = aws_s3_bucket.this.bucket
  key                    = "models/encrypted"
  content                = "secret"
  server_side_encryption = "aws:kms"
  kms_key_id             = aws_kms_key.this.arn

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_sqs_queue" "this" {
  name                       = "matrix-storage"
  visibility_timeout_seconds = var.changed ? 60 : 30
  message_retention_seconds  = var.changed ? 86400 : 1209600
  delay_seconds              = var.changed ? 5 : 0
  max_message_size           = var.changed ? 131072 : 262144
  receive_wait_time_seconds  = var.changed ? 20 : 0
  kms_master_key_id          = var.changed ? "alias/aws/sqs" : null
  sqs_managed_sse_enabled    = var.changed ? null : true

  # Inline, because the provider takes 25 s for each change of a queue and as long for one of a policy beside it.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = var.changed ? "Buckets" : "Bucket"
      Effect    = "Allow"
      Principal = { Service = "s3.amazonaws.com" }
      Action    = "sqs:SendMessage"
      Resource  = "arn:aws:sqs:us-east-1:${data.aws_caller_identity.this.account_id}:matrix-storage"
      Condition = { ArnLike = { "aws:SourceArn" = aws_s3_bucket.this.arn } }
    }]
  })

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = var.changed ? 5 : 3
  })
}

resource "aws_sqs_queue" "dead" {
  name                    = "matrix-storage-dead"
  sqs_managed_sse_enabled = true
}

resource "aws_sns_topic" "this" {
  name              = "matrix-storage"
  display_name      = var.changed ? "Second" : "First"
  kms_master_key_id = var.changed ? aws_kms_key.this.arn : "alias/aws/sns"
}

resource "aws_sns_topic_policy" "this" {
  arn = aws_sns_topic.this.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = var.changed ? "Alarms" : "Alarm"
      Effect    = "Allow"
      Principal = { Service = ["cloudwatch.amazonaws.com", "s3.amazonaws.com"] }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.this.arn
    }]
  })
}

resource "aws_sns_topic_subscription" "queue" {
  topic_arn            = aws_sns_topic.this.arn
  protocol             = "sqs"
  endpoint             = aws_sqs_queue.this.arn
  raw_message_delivery = var.changed
  filter_policy        = jsonencode({ kind = [var.changed ? "alarm" : "any"] })
}

resource "aws_sns_topic_subscription" "mail" {
  topic_arn = aws_sns_topic.this.arn
  protocol  = "email"
  endpoint  = "platform@example.org"
}

resource "aws_budgets_budget" "this" {
  name         = "matrix-storage"
  budget_type  = "COST"
  limit_amount = var.changed ? "100.0" : "50.0"
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  cost_filter {
    name   = "TagKeyValue"
    values = ["user:Project$matrix-storage"]
  }

  notification {
    comparison_operator        = "GREATER_THAN"
    threshold                  = var.changed ? 90 : 80
    threshold_type             = "PERCENTAGE"
    notification_type          = "FORECASTED"
    subscriber_email_addresses = ["platform@example.org"]
    subscriber_sns_topic_arns  = [aws_sns_topic.this.arn]
  }
}
