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
      && output.artifacts_bucket == "whippet-dev-123456789012"
    )
    error_message = "Names are NAME-ENVIRONMENT, and the bucket's ends with the account, so that deployments live side by side."
  }
}

run "defaults_are_the_decided_figures" {
  assert {
    condition     = module.lambda.reserved_concurrency == 5 && module.autoscaling.target_value == 1
    error_message = "The defaults are reserved concurrency 5 and a target of 1 concurrent request."
  }
}

run "training_instance_and_notebook_are_off_by_default" {
  variables {
    environment = "prod"
  }

  assert {
    condition     = output.training_instance_id == null && output.notebook_name == null
    error_message = "What costs by the hour without serving anyone must be asked for."
  }
}

run "training_instance_and_notebook_come_when_asked_for" {
  variables {
    create_training_instance = true
    create_notebook          = true
  }

  assert {
    condition     = output.training_instance_id != null && output.notebook_name == "whippet-dev"
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
