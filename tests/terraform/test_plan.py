"""What each environment's tfvars would create, from real plans."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tftest

from whippet.terraform import Terraform

TAGS = {"Project": "whippet", "ManagedBy": "Terraform"}

CORE = {
    "aws_appautoscaling_policy": 1,
    "aws_appautoscaling_target": 1,
    "aws_cloudwatch_log_group": 2,
    "aws_cloudwatch_metric_alarm": 8,
    "aws_iam_role": 2,
    "aws_iam_role_policy": 2,
    "aws_lambda_alias": 1,
    "aws_lambda_function": 1,
    "aws_s3_bucket": 4,
    "aws_s3_bucket_logging": 3,
    "aws_s3_bucket_ownership_controls": 4,
    "aws_s3_bucket_policy": 4,
    "aws_s3_bucket_public_access_block": 4,
    "aws_s3_bucket_server_side_encryption_configuration": 4,
    "aws_s3_bucket_versioning": 4,
    "aws_s3_object": 2,
    "aws_sagemaker_endpoint": 1,
    "aws_sagemaker_endpoint_configuration": 1,
    "aws_sagemaker_model": 1,
}
#: What an environment has beside the core.
MORE = {
    "local": {
        "aws_autoscaling_group": 1,
        "aws_autoscaling_policy": 1,
        "aws_cloudwatch_dashboard": 1,
        "aws_cloudwatch_log_group": 1,
        "aws_cloudwatch_metric_alarm": 1,
        "aws_iam_instance_profile": 1,
        "aws_iam_role": 2,
        "aws_iam_role_policy": 2,
        "aws_launch_template": 1,
        "aws_sagemaker_notebook_instance": 1,
        "aws_sagemaker_notebook_instance_lifecycle_configuration": 1,
        "aws_security_group": 1,
        "aws_ssm_parameter": 1,
    },
    "dev": {"aws_s3_bucket_lifecycle_configuration": 4},
    "prod": {
        "aws_cloudwatch_dashboard": 1,
        "aws_kms_alias": 1,
        "aws_kms_key": 1,
        "aws_s3_bucket_lifecycle_configuration": 4,
        "aws_sns_topic": 1,
        "aws_sns_topic_policy": 1,
    },
}
#: Terraform's own, which stands for nothing on AWS.
BUILT_IN = {"terraform_data"}


class Plans:
    """Plans of the root module, one for each set of variables."""

    def __init__(self, root: Terraform, variables: dict[str, str]) -> None:
        self._terraform = tftest.TerraformTest(str(root.folder), env=dict(root.env))
        self._variables = variables
        self._made: dict[str, tftest.TerraformPlanOutput] = {}

    def of(self, environment: str, **variables: Any) -> tftest.TerraformPlanOutput:
        key = repr((environment, variables))
        if key not in self._made:
            # tftest puts files after -var, and the last one wins.
            overrides = Path(self._terraform.tfdir) / "overrides.tfvars.json"
            overrides.write_text(json.dumps(self._variables | variables))
            self._made[key] = self._terraform.plan(
                output=True, tf_var_file=[f"envs/{environment}.tfvars", str(overrides)]
            )
        return self._made[key]


@pytest.fixture(scope="session")
def plans(root: Terraform, aws_url: str, ami: str) -> Plans:
    return Plans(
        root,
        {
            "local_aws_url": aws_url,
            "training_ami_id": ami,
            "model_archive": "tests/fixtures/model.tar.gz",
            "lambda_zip": "tests/fixtures/lambda.zip",
            "training_package": "tests/fixtures/training.zip",
        },
    )


def planned(plan: tftest.TerraformPlanOutput) -> dict[str, dict[str, Any]]:
    """The values of each managed resource that the plan creates, by address."""
    return {
        address: change["change"]["after"]
        for address, change in plan.resource_changes.items()
        if change["mode"] == "managed"
    }


def types(plan: tftest.TerraformPlanOutput) -> Counter[str]:
    managed = (change["type"] for change in plan.resource_changes.values() if change["mode"] == "managed")
    return Counter(kind for kind in managed if kind not in BUILT_IN)


@pytest.mark.parametrize("environment", ["local", "dev", "prod"])
def test_an_environment_creates_what_it_says(plans: Plans, environment: str) -> None:
    assert types(plans.of(environment)) == Counter(CORE) + Counter(MORE[environment])


def test_prod_shifts_traffic_by_a_canary_that_alarms_roll_back(plans: Plans) -> None:
    endpoint = planned(plans.of("prod"))["module.endpoint[0].aws_sagemaker_endpoint.this"]
    [deployment] = endpoint["deployment_config"]
    [policy] = deployment["blue_green_update_policy"]
    assert policy["traffic_routing_configuration"][0]["type"] == "CANARY"
    [rollback] = deployment["auto_rollback_configuration"]
    alarms = {alarm["alarm_name"] for alarm in rollback["alarms"]}
    assert alarms == {"whippet-prod-endpoint-5xx", "whippet-prod-endpoint-latency"}


@pytest.mark.parametrize("environment", ["local", "dev", "prod"])
def test_the_lambda_may_ask_one_endpoint_and_write_its_log_and_nothing_else(plans: Plans, environment: str) -> None:
    policy = planned(plans.of(environment))["module.lambda.aws_iam_role_policy.this"]["policy"]
    endpoint = f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/whippet-{environment}"
    log_group = f"arn:aws:logs:us-east-1:123456789012:log-group:/aws/lambda/whippet-{environment}:*"
    allowed = {
        (action, resource)
        for statement in json.loads(policy)["Statement"]
        for action in statement["Action"]
        for resource in statement["Resource"]
    }
    assert allowed == {
        ("sagemaker:InvokeEndpoint", endpoint),
        ("logs:CreateLogStream", log_group),
        ("logs:PutLogEvents", log_group),
    }


@pytest.mark.parametrize("environment", ["local", "dev", "prod"])
def test_only_the_aws_provider_takes_part(plans: Plans, environment: str) -> None:
    providers = {change["provider_name"] for change in plans.of(environment).resource_changes.values()}
    assert providers - {"terraform.io/builtin/terraform"} == {"registry.terraform.io/hashicorp/aws"}


@pytest.mark.parametrize("environment", ["local", "dev", "prod"])
def test_whatever_can_be_tagged_is_tagged(plans: Plans, environment: str) -> None:
    tagged = {
        address: after["tags_all"] for address, after in planned(plans.of(environment)).items() if "tags_all" in after
    }
    assert len(tagged) > 10
    assert {
        address: tags
        for address, tags in tagged.items()
        if not {**TAGS, "Environment": environment}.items() <= tags.items()
    } == {}


@pytest.mark.parametrize(("environment", "expected"), [("local", True), ("dev", True), ("prod", False)])
def test_only_prod_keeps_its_bucket(plans: Plans, environment: str, expected: bool) -> None:
    assert planned(plans.of(environment))['module.artifacts.aws_s3_bucket.this["models"]']["force_destroy"] is expected


@pytest.mark.parametrize(("environment", "least", "most"), [("local", 1, 5), ("dev", 1, 2), ("prod", 2, 5)])
def test_instances_are_between_the_environments_least_and_most(
    plans: Plans, environment: str, least: int, most: int
) -> None:
    target = planned(plans.of(environment))["module.autoscaling[0].aws_appautoscaling_target.this"]
    assert (target["min_capacity"], target["max_capacity"]) == (least, most)


def test_a_lambda_that_holds_the_model_needs_no_endpoint_and_nothing_of_it(plans: Plans) -> None:
    plan = plans.of("prod", single_hop=True, create_notebook=True)
    ours = {"aws_sagemaker_notebook_instance", "aws_sagemaker_notebook_instance_lifecycle_configuration"}
    assert not any("sagemaker" in kind or "appautoscaling" in kind for kind in set(types(plan)) - ours)
    resources = planned(plan)
    function = resources["module.lambda.aws_lambda_function.this"]
    package = resources['module.artifacts.aws_s3_object.this["lambda"]']
    assert (function["filename"], function["s3_key"]) == (None, package["key"])
    assert function["memory_size"] == 1769
    roles = [address for address, after in resources.items() if address.endswith("aws_iam_role.this")]
    assert roles == ["module.lambda.aws_iam_role.this", "module.notebook[0].aws_iam_role.this"]
    assert "InvokeEndpoint" not in json.dumps(resources)
    policy = resources["module.lambda.aws_iam_role_policy.this"]["policy"]
    assert {action for one in json.loads(policy)["Statement"] for action in one["Action"]} == {
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }
    alarms = [after for address, after in resources.items() if ".aws_cloudwatch_metric_alarm." in address]
    assert alarms
    assert "AWS/SageMaker" not in json.dumps(alarms)


def test_a_lambda_that_holds_the_model_gets_memory_enough(plans: Plans) -> None:
    with pytest.raises(tftest.TerraformTestError) as failed:
        plans.of("dev", single_hop=True, lambda_memory_size=256)
    assert "1024 MB or more" in " ".join(str(failed.value.cmd_error).replace("│", " ").split())


def test_no_version_of_the_function_asks_an_endpoint_that_is_not_there_yet(plans: Plans) -> None:
    configuration = plans.of("dev").configuration["root_module"]["module_calls"]
    assert "module.endpoint" in configuration["lambda"]["expressions"]["endpoint_name"]["references"]
    outputs = configuration["endpoint"]["module"]["outputs"]
    assert "aws_sagemaker_endpoint.this" in outputs["name"]["expression"]["references"]


def test_single_hop_names_the_script_that_builds_its_package(plans: Plans) -> None:
    with pytest.raises(tftest.TerraformTestError) as failed:
        plans.of("dev", single_hop=True, lambda_zip=None)
    error = " ".join(str(failed.value.cmd_error).replace("│", " ").split())
    assert "../build/lambda-single-hop-arm64.zip does not exist" in error
    assert "scripts/build_single_hop.py" in error


def test_reserved_concurrency_limits_what_scaling_may_aim_at(plans: Plans) -> None:
    with pytest.raises(tftest.TerraformTestError) as failed:
        plans.of("prod", autoscaling_target_value=2)
    assert "5 instances can never be reached" in str(failed.value.cmd_error)


def test_missing_archives_are_named_with_the_command_that_builds_them(plans: Plans) -> None:
    with pytest.raises(tftest.TerraformTestError) as failed:
        plans.of("dev", lambda_zip="../build/none.zip")
    assert "../build/none.zip does not exist. Build it first" in str(failed.value.cmd_error)
