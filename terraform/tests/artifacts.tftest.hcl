mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  bucket           = "whippet-test-123456789012"
  model_archive    = "tests/fixtures/model.tar.gz"
  training_package = "tests/fixtures/training.zip"
}

run "bucket_is_private_encrypted_and_versioned" {
  module {
    source = "./modules/artifacts"
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls,
      aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls,
      aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "All four public access blocks must be on."
  }

  assert {
    condition     = aws_s3_bucket_ownership_controls.this.rule[0].object_ownership == "BucketOwnerEnforced"
    error_message = "ACLs must be off."
  }

  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "AES256"
    error_message = "Objects must be encrypted."
  }

  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "Versions must be kept."
  }
}

run "policy_denies_plain_http_and_nothing_else" {
  module {
    source = "./modules/artifacts"
  }

  assert {
    condition = jsondecode(aws_s3_bucket_policy.this.policy).Statement == [{
      Sid       = "DenyPlainHttp"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = ["arn:aws:s3:::mock-bucket", "arn:aws:s3:::mock-bucket/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
    error_message = "The bucket policy is the TLS-only statement."
  }
}

run "bucket_with_content_is_kept_unless_told_otherwise" {
  module {
    source = "./modules/artifacts"
  }

  assert {
    condition     = aws_s3_bucket.this.force_destroy == false
    error_message = "force_destroy is off by default."
  }
}

run "keys_hold_the_content_hash" {
  module {
    source = "./modules/artifacts"
  }

  assert {
    condition     = output.model_s3_uri == "s3://whippet-test-123456789012/models/${substr(filesha256("tests/fixtures/model.tar.gz"), 0, 16)}/model.tar.gz"
    error_message = "The model lies under models/HASH/."
  }

  assert {
    condition     = output.training_package_s3_uri == "s3://whippet-test-123456789012/training/${substr(filesha256("tests/fixtures/training.zip"), 0, 16)}/training.zip"
    error_message = "The training package lies under training/HASH/."
  }
}

run "missing_model_is_named" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  variables {
    model_archive = "tests/fixtures/none.tar.gz"
  }

  expect_failures = [aws_s3_object.this]
}

run "missing_training_package_is_named" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  variables {
    training_package = "tests/fixtures/none.zip"
  }

  expect_failures = [aws_s3_object.this]
}

run "model_that_is_no_tar_gz_is_refused" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  variables {
    model_archive = "tests/fixtures/lambda.zip"
  }

  expect_failures = [var.model_archive]
}

run "training_package_of_another_format_is_refused" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  variables {
    training_package = "main.tf"
  }

  expect_failures = [var.training_package]
}

run "bucket_name_with_upper_case_is_refused" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  variables {
    bucket = "Whippet"
  }

  expect_failures = [var.bucket]
}
