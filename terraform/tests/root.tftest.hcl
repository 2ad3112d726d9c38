mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  environment      = "dev"
  model_archive    = "tests/fixtures/model.tar.gz"
  lambda_zip       = "tests/fixtures/lambda.zip"
  training_package = "tests/fixtures/training.zip"
}

run "names_carry_system_and_environment" {
  assert {
    condition = (
      output.endpoint_name == "whippet-dev"
      && output.lambda_function_name == "whippet-dev"
      && output.artifacts_bucket == "whippet-dev-123456789012-models"
    )
    error_message = "Names are NAME-ENVIRONMENT, and a bucket's has the account too, so that deployments live side by side."
  }
}

run "defaults_are_the_decided_figures" {
  assert {
    condition     = module.lambda.reserved_concurrency == 5 && module.autoscaling[0].target_value == 1
    error_message = "The defaults are reserved concurrency 5 and a target of 1 concurrent request."
  }
}

run "training_instance_and_notebook_are_off_by_default" {
  variables {
    environment = "prod"
  }

  assert {
    condition     = output.training_model_parameter == null && output.notebook_name == null
    error_message = "What costs by the hour without serving anyone must be asked for."
  }
}

run "training_instance_and_notebook_come_when_asked_for" {
  variables {
    create_training_instance = true
    create_notebook          = true
  }

  assert {
    condition     = output.training_model_parameter == "/whippet-dev/model-s3-uri" && output.notebook_name == "whippet-dev"
    error_message = "create_training_instance and create_notebook create them."
  }
}

run "a_new_model_is_a_new_key" {
  variables {
    model_archive = "tests/fixtures/better-model.tar.gz"
  }

  assert {
    condition     = output.model_s3_uri != run.names_carry_system_and_environment.model_s3_uri
    error_message = "The key must change with the model's bytes: that is what makes the endpoint take it up."
  }
}

run "stock_container_is_the_default" {
  assert {
    condition     = strcontains(output.inference_image, "/pytorch-inference:")
    error_message = "Without inference_image the endpoint runs AWS's stock PyTorch container."
  }
}

run "a_serverless_endpoint_is_not_autoscaled" {
  variables {
    endpoint_serverless = {}
  }

  assert {
    condition     = length(module.autoscaling) == 0 && !contains(keys(output.alarm_names), "endpoint_no_instance")
    error_message = "SageMaker scales it, and there are no instances to watch."
  }
}

run "updates_are_rolled_back_by_alarms_where_asked" {
  variables {
    endpoint_deployment = {}
  }

  assert {
    condition     = module.observability.rollback_alarm_names == ["whippet-dev-endpoint-5xx", "whippet-dev-endpoint-latency"]
    error_message = "5xx answers and latency tell a bad model from a good one."
  }
}

run "commands_are_for_what_there_is" {
  assert {
    condition     = !contains(keys(output.commands), "train") && strcontains(output.commands.ask_the_lambda, module.lambda.alias_arn)
    error_message = "No command for what is not deployed; the others hold its names."
  }
}

run "commands_follow_what_is_asked_for" {
  variables {
    create_training_instance = true
    create_notebook          = true
  }

  assert {
    condition     = length(setsubtract(["train", "follow_the_training", "open_the_notebook", "start_the_notebook"], keys(output.commands))) == 0
    error_message = "What costs by the hour comes with the commands to use it."
  }
}

run "alarm_mails_make_a_topic" {
  variables {
    alarm_emails = ["platform@example.org"]
  }

  assert {
    condition     = output.alarm_topic_arn != null
    error_message = "Addresses need a topic."
  }
}

run "github_gets_a_role" {
  variables {
    github = { repository = "example/whippet" }
  }

  assert {
    condition     = output.github_role_arn != null
    error_message = "A role to deploy with."
  }
}

run "two_keys_are_refused" {
  command = plan

  variables {
    create_kms_key = true
    kms_key_arn    = "arn:aws:kms:us-east-1:123456789012:key/1234"
  }

  expect_failures = [var.kms_key_arn]
}

run "values_of_a_wrong_form_are_refused" {
  command = plan

  variables {
    kms_key_arn              = "1234"
    permissions_boundary_arn = "boundary"
    vpc                      = { id = "vpc-1", subnet_ids = [], security_group_ids = ["sg-1"] }
  }

  expect_failures = [var.kms_key_arn, var.permissions_boundary_arn, var.vpc]
}

run "little_memory_for_a_lambda_that_holds_the_model_is_refused" {
  command = plan

  variables {
    single_hop         = true
    lambda_memory_size = 256
  }

  expect_failures = [var.lambda_memory_size]
}

run "upper_case_name_is_refused" {
  command = plan

  variables {
    name = "Whippet"
  }

  expect_failures = [var.name]
}

run "long_name_is_refused" {
  command = plan

  variables {
    name = "a-name-with-21-letter"
  }

  expect_failures = [var.name]
}

run "environment_with_a_hyphen_is_refused" {
  command = plan

  variables {
    environment = "prod-eu"
  }

  expect_failures = [var.environment]
}

run "availability_zone_as_region_is_refused" {
  command = plan

  variables {
    region = "us-east-1a"
  }

  expect_failures = [var.region]
}

run "local_aws_url_with_a_path_is_refused" {
  command = plan

  variables {
    local_aws_url = "http://127.0.0.1:4566/"
  }

  expect_failures = [var.local_aws_url]
}
