output "bucket" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.this.bucket
}

output "bucket_arn" {
  description = "ARN of the bucket."
  value       = aws_s3_bucket.this.arn
}

output "model_s3_uri" {
  description = "Where the model archive lies, s3://BUCKET/models/HASH/model.tar.gz."
  value       = "s3://${aws_s3_object.this["models"].bucket}/${aws_s3_object.this["models"].key}"
}

output "training_package_s3_uri" {
  description = "Where the training package lies, s3://BUCKET/training/HASH/NAME."
  value       = "s3://${aws_s3_object.this["training"].bucket}/${aws_s3_object.this["training"].key}"
}
