locals {
  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/security-best-practices.html
  deny_plain_http = {
    for purpose, arn in local.bucket_arns : purpose => {
      Sid       = "DenyPlainHttp"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = "s3:*"
      Resource  = [arn, "${arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }
  }

  # S3's log delivery may write each bucket's access logs into that bucket's folder:
  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html
  take_access_logs = [
    for purpose, prefix in local.access_log_prefixes : {
      Sid       = "TakeAccessLogsOf${replace(title(replace(purpose, "_", " ")), " ", "")}"
      Effect    = "Allow"
      Principal = { Service = "logging.s3.amazonaws.com" }
      Action    = "s3:PutObject"
      Resource  = "${local.bucket_arns["logs"]}/${prefix}*"
      Condition = {
        ArnLike      = { "aws:SourceArn" = local.bucket_arns[purpose] }
        StringEquals = { "aws:SourceAccount" = local.account }
      }
    }
  ]
}

resource "aws_s3_bucket_policy" "this" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat([local.deny_plain_http[each.key]], each.key == "logs" ? local.take_access_logs : [])
  })

  # S3 answers OperationAborted when both are written at once.
  depends_on = [aws_s3_bucket_public_access_block.this]
}
