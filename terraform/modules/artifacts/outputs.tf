output "buckets" {
  description = "Names of the buckets by purpose: models, code, data_capture, logs."
  value       = { for purpose, bucket in aws_s3_bucket.this : purpose => bucket.bucket }
}

output "bucket_arns" {
  description = "ARNs of the buckets by purpose, known in the plan."
  value       = local.bucket_arns
}

output "bucket" {
  description = "Name of the models bucket: models, photos (data/), training runs (runs/), checkpoints."
  value       = aws_s3_bucket.this["models"].bucket
}

output "bucket_arn" {
  description = "ARN of the models bucket, known in the plan."
  value       = local.bucket_arns["models"]
}

output "model_s3_uri" {
  description = "Where the model archive lies, s3://BUCKET/models/HASH/model.tar.gz; null without model_archive."
  value       = lookup(local.uris, "models", null)

  # Whoever reads the URI finds the object.
  depends_on = [aws_s3_object.this]
}

output "training_package_s3_uri" {
  description = "Where the training package lies, s3://BUCKET/training/HASH/NAME; null without training_package."
  value       = lookup(local.uris, "training", null)

  depends_on = [aws_s3_object.this]
}

output "lambda_package" {
  description = "Bucket and key of the Lambda's zip, known in the plan; null without lambda_package."
  value       = one([for kind, object in local.objects : { bucket = local.buckets[object.bucket], key = object.key } if kind == "lambda"])

  depends_on = [aws_s3_object.this]
}

output "kms_key_arn" {
  description = "ARN of the key that encrypts models, code and data capture; null for S3's own encryption. For an own key it is known only after apply."
  value       = local.kms_key_arn
}

output "kms_key_alias" {
  description = "Alias of the own key, known in the plan; null without create_kms_key. Policies name the key by it (kms:ResourceAliases)."
  value       = var.create_kms_key ? "alias/${var.name}" : null

  depends_on = [aws_kms_alias.this]
}
