mock_provider "aws" {
  source = "./tests/mocks"
}

override_data {
  target = data.aws_caller_identity.this
  values = { account_id = "123456789012" }
}

override_data {
  target = data.aws_region.this
  values = { id = "eu-central-1" }
}

variables {
  name = "whippet-test"
}

run "four_buckets_are_private_encrypted_and_versioned" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  assert {
    condition = { for purpose, bucket in aws_s3_bucket.this : purpose => bucket.bucket } == {
      models       = "whippet-test-123456789012-models"
      code         = "whippet-test-123456789012-code"
      data_capture = "whippet-test-123456789012-data-capture"
      logs         = "whippet-test-123456789012-logs"
    }
    error_message = "One bucket a purpose, named NAME-ACCOUNT-PURPOSE."
  }

  assert {
    condition = length(aws_s3_bucket_public_access_block.this) == 4 && alltrue(flatten([
      for block in aws_s3_bucket_public_access_block.this :
      [block.block_public_acls, block.block_public_policy, block.ignore_public_acls, block.restrict_public_buckets]
    ]))
    error_message = "All four public access blocks must be on."
  }

  assert {
    condition     = [for rule in aws_s3_bucket_ownership_controls.this : rule.rule[0].object_ownership] == [for _ in range(4) : "BucketOwnerEnforced"]
    error_message = "ACLs must be off."
  }

  assert {
    condition     = [for one in aws_s3_bucket_server_side_encryption_configuration.this : one(one.rule).apply_server_side_encryption_by_default[0].sse_algorithm] == [for _ in range(4) : "AES256"]
    error_message = "Objects must be encrypted."
  }

  assert {
    condition     = [for one in aws_s3_bucket_versioning.this : one.versioning_configuration[0].status] == [for _ in range(4) : "Enabled"]
    error_message = "Versions must be kept."
  }

  assert {
    condition     = !anytrue([for bucket in aws_s3_bucket.this : bucket.force_destroy])
    error_message = "force_destroy is off by default."
  }

  assert {
    condition     = length(aws_s3_object.this) == 0 && length(aws_kms_key.this) == 0 && output.model_s3_uri == null && output.training_package_s3_uri == null
    error_message = "Nothing is uploaded, and no key made, unless asked."
  }
}

run "policies_deny_plain_http" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  assert {
    condition = jsondecode(aws_s3_bucket_policy.this["models"].policy).Statement == [{
      Sid       = "DenyPlainHttp"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = "s3:*"
      Resource  = ["arn:aws:s3:::whippet-test-123456789012-models", "arn:aws:s3:::whippet-test-123456789012-models/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
    error_message = "The bucket policy is the TLS-only statement."
  }

  assert {
    condition     = alltrue([for policy in aws_s3_bucket_policy.this : jsondecode(policy.policy).Statement[0].Sid == "DenyPlainHttp"])
    error_message = "Every bucket has the TLS-only statement."
  }
}

run "access_logs_go_to_the_logs_bucket" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  assert {
    condition = { for purpose, logging in aws_s3_bucket_logging.this : purpose => logging.target_prefix } == {
      models       = "s3-access/models/"
      code         = "s3-access/code/"
      data_capture = "s3-access/data_capture/"
    }
    error_message = "Three buckets log; the logs bucket does not log itself."
  }

  assert {
    condition = [for statement in jsondecode(aws_s3_bucket_policy.this["logs"].policy).Statement : statement if statement.Effect == "Allow"] == [
      for purpose in ["code", "data_capture", "models"] : {
        Sid       = { code = "TakeAccessLogsOfCode", data_capture = "TakeAccessLogsOfDataCapture", models = "TakeAccessLogsOfModels" }[purpose]
        Effect    = "Allow"
        Principal = { Service = "logging.s3.amazonaws.com" }
        Action    = "s3:PutObject"
        Resource  = "arn:aws:s3:::whippet-test-123456789012-logs/s3-access/${purpose}/*"
        Condition = {
          ArnLike      = { "aws:SourceArn" = "arn:aws:s3:::whippet-test-123456789012-${replace(purpose, "_", "-")}" }
          StringEquals = { "aws:SourceAccount" = "123456789012" }
        }
      }
    ]
    error_message = "S3 may write each bucket's logs into its own folder, and nobody may do anything else."
  }
}

run "what_is_temporary_expires" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  variables {
    retention_days = { data_capture = 3, checkpoints = 5 }
  }

  assert {
    condition = {
      for purpose, one in aws_s3_bucket_lifecycle_configuration.this : purpose => {
        for rule in one.rule : rule.id => rule.expiration[0].days if startswith(rule.id, "expire")
      }
      } == {
      models       = { "expire-checkpoints" = 5 }
      code         = {}
      data_capture = { "expire" = 3 }
      logs         = { "expire" = 365 }
    }
    error_message = "Captured data, logs and checkpoints expire; models and code do not."
  }

  assert {
    condition = alltrue([
      for one in aws_s3_bucket_lifecycle_configuration.this :
      one.rule[0].abort_incomplete_multipart_upload[0].days_after_initiation == 7 && one.rule[1].noncurrent_version_expiration[0].noncurrent_days == 90
    ])
    error_message = "Every bucket forgets unfinished uploads and old versions."
  }

  assert {
    condition     = [for purpose in ["code", "data_capture"] : length(aws_s3_bucket_lifecycle_configuration.this[purpose].rule[1].expiration)] == [1, 0]
    error_message = "Delete markers go: by a rule of their own, or with the bucket's expiration."
  }
}

run "everything_is_kept_where_asked" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  variables {
    retention_days = null
  }

  assert {
    condition     = length(aws_s3_bucket_lifecycle_configuration.this) == 0
    error_message = "No lifecycle rule."
  }
}

run "own_key_encrypts_all_but_the_logs" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  variables {
    create_kms_key = true
  }

  assert {
    condition = {
      for purpose, one in aws_s3_bucket_server_side_encryption_configuration.this : purpose => one(one.rule).apply_server_side_encryption_by_default[0].sse_algorithm
    } == { models = "aws:kms", code = "aws:kms", data_capture = "aws:kms", logs = "AES256" }
    error_message = "S3 delivers access logs only to SSE-S3."
  }

  assert {
    condition     = aws_kms_key.this[0].enable_key_rotation && aws_kms_key.this[0].deletion_window_in_days == 30 && aws_kms_alias.this[0].name == "alias/whippet-test" && output.kms_key_alias == "alias/whippet-test"
    error_message = "The key rotates, waits 30 days before it goes, and has an alias."
  }

  assert {
    condition = [for statement in jsondecode(aws_kms_key.this[0].policy).Statement : [statement.Sid, statement.Principal, try(statement.Condition, null)]] == [
      ["AccountDecidesByIam", { AWS = "arn:aws:iam::123456789012:root" }, null],
      ["LogGroupsOfThisAccount", { Service = "logs.eu-central-1.amazonaws.com" }, { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "arn:aws:logs:eu-central-1:123456789012:*" } }],
      ["NotificationsOfThisAccount", { Service = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"] }, { StringEquals = { "aws:SourceAccount" = "123456789012" } }],
    ]
    error_message = "The account, its log groups and its notifications use the key."
  }
}

run "given_key_encrypts_all_but_the_logs" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  variables {
    kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  }

  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.this["models"].rule).apply_server_side_encryption_by_default[0].kms_master_key_id == var.kms_key_arn && one(aws_s3_bucket_server_side_encryption_configuration.this["models"].rule).bucket_key_enabled
    error_message = "The given key, through a bucket key."
  }

  assert {
    condition     = length(aws_kms_key.this) == 0 && output.kms_key_arn == var.kms_key_arn && output.kms_key_alias == null
    error_message = "No key is made."
  }
}

run "buckets_are_emptied_where_asked" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  variables {
    force_destroy = true
  }

  assert {
    condition     = alltrue([for bucket in aws_s3_bucket.this : bucket.force_destroy])
    error_message = "force_destroy empties all four."
  }
}

run "keys_hold_the_content_hash" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  variables {
    model_archive    = "tests/fixtures/model.tar.gz"
    training_package = "tests/fixtures/training.zip"
    lambda_package   = "tests/fixtures/lambda.zip"
  }

  assert {
    condition     = output.lambda_package == { bucket = "whippet-test-123456789012-code", key = "lambda/${substr(filesha256("tests/fixtures/lambda.zip"), 0, 16)}/lambda.zip" }
    error_message = "A Lambda's package lies under lambda/HASH/ in the code bucket."
  }

  assert {
    condition     = output.model_s3_uri == "s3://whippet-test-123456789012-models/models/${substr(filesha256("tests/fixtures/model.tar.gz"), 0, 16)}/model.tar.gz"
    error_message = "The model lies under models/HASH/ in the models bucket."
  }

  assert {
    condition     = output.training_package_s3_uri == "s3://whippet-test-123456789012-code/training/${substr(filesha256("tests/fixtures/training.zip"), 0, 16)}/training.zip"
    error_message = "The training package lies under training/HASH/ in the code bucket."
  }
}

run "longest_name_still_makes_names_that_s3_takes" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  variables {
    name = "a123456789-123456789-123456789-123456"
  }

  assert {
    condition     = max([for bucket in aws_s3_bucket.this : length(bucket.bucket)]...) == 63
    error_message = "The longest bucket name has 63 characters."
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

run "one_wrong_value_of_each_variable_is_refused" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  variables {
    name                         = "Whippet"
    model_archive                = "tests/fixtures/lambda.zip"
    training_package             = "main.tf"
    lambda_package               = "main.tf"
    kms_key_arn                  = "alias/whippet"
    kms_key_deletion_window_days = 1
    retention_days               = { logs = 0.5 }
  }

  expect_failures = [
    var.name,
    var.model_archive,
    var.training_package,
    var.lambda_package,
    var.kms_key_arn,
    var.kms_key_deletion_window_days,
    var.retention_days,
  ]
}

run "other_wrong_values_are_refused" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  variables {
    name           = "xn--whippet"
    kms_key_arn    = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
    create_kms_key = true
    retention_days = { data_capture = 0 }
  }

  expect_failures = [
    var.name,
    var.kms_key_arn,
    var.retention_days,
  ]
}

run "name_that_is_too_long_for_s3_is_refused" {
  command = plan

  module {
    source = "./modules/artifacts"
  }

  variables {
    name = "a123456789-123456789-123456789-1234567"
  }

  expect_failures = [var.name]
}
