from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

PUBLISHERS = {"SigningProfileVersionArns": ["arn:aws:signer:us-east-1:123456789012:/signing-profiles/dogs/1234567890"]}


@pytest.fixture
def config(local_aws: Any) -> str:
    created = local_aws.client("lambda").create_code_signing_config(AllowedPublishers=PUBLISHERS, Tags={"a": "1"})
    arn: str = created["CodeSigningConfig"]["CodeSigningConfigArn"]
    return arn


def test_a_configuration_is_changed_listed_and_deleted(local_aws: Any, config: str) -> None:
    functions = local_aws.client("lambda")
    changed = functions.update_code_signing_config(
        CodeSigningConfigArn=config, CodeSigningPolicies={"UntrustedArtifactOnDeployment": "Enforce"}
    )["CodeSigningConfig"]
    assert changed["AllowedPublishers"] == PUBLISHERS
    assert functions.get_code_signing_config(CodeSigningConfigArn=config)["CodeSigningConfig"] == changed
    assert functions.list_code_signing_configs()["CodeSigningConfigs"] == [changed]
    functions.delete_code_signing_config(CodeSigningConfigArn=config)
    assert functions.list_code_signing_configs()["CodeSigningConfigs"] == []
    with pytest.raises(functions.exceptions.ResourceNotFoundException, match="cannot be found"):
        functions.get_code_signing_config(CodeSigningConfigArn=config)


def test_untrusted_code_is_warned_of_unless_it_is_said(local_aws: Any, config: str) -> None:
    described = local_aws.client("lambda").get_code_signing_config(CodeSigningConfigArn=config)["CodeSigningConfig"]
    assert described["CodeSigningPolicies"] == {"UntrustedArtifactOnDeployment": "Warn"}


def test_a_configuration_stays_as_long_as_a_function_has_it(local_aws: Any, config: str) -> None:
    functions = local_aws.client("lambda")
    local_aws.create_function("def handler(event, context): pass")
    assert "CodeSigningConfigArn" not in functions.get_function_code_signing_config(FunctionName="function")
    functions.put_function_code_signing_config(FunctionName="function", CodeSigningConfigArn=config)
    assert functions.get_function_code_signing_config(FunctionName="function")["CodeSigningConfigArn"] == config
    users = functions.list_functions_by_code_signing_config(CodeSigningConfigArn=config)["FunctionArns"]
    assert users == ["arn:aws:lambda:us-east-1:123456789012:function:function"]
    with pytest.raises(functions.exceptions.ResourceConflictException):
        functions.delete_code_signing_config(CodeSigningConfigArn=config)
    functions.delete_function_code_signing_config(FunctionName="function")
    functions.delete_code_signing_config(CodeSigningConfigArn=config)


def test_a_function_cannot_get_a_configuration_that_is_none(local_aws: Any, config: str) -> None:
    functions = local_aws.client("lambda")
    local_aws.create_function("def handler(event, context): pass")
    with pytest.raises(functions.exceptions.CodeSigningConfigNotFoundException):
        functions.put_function_code_signing_config(
            FunctionName="function", CodeSigningConfigArn=config[:-17] + "0" * 17
        )


def test_configurations_and_functions_have_tags(local_aws: Any, config: str) -> None:
    functions = local_aws.client("lambda")
    local_aws.create_function("def handler(event, context): pass", Tags={"a": "1"})
    for arn in (config, "arn:aws:lambda:us-east-1:123456789012:function:function"):
        functions.tag_resource(Resource=arn, Tags={"b": "2"})
        functions.untag_resource(Resource=arn, TagKeys=["a"])
        assert functions.list_tags(Resource=arn)["Tags"] == {"b": "2"}
    with pytest.raises(ClientError):
        functions.list_tags(Resource="arn:aws:lambda:us-east-1:123456789012:function:other")
