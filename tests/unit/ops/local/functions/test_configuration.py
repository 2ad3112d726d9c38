"""Functions on record: https://docs.aws.amazon.com/lambda/latest/api/API_FunctionConfiguration.html."""

from __future__ import annotations

from typing import Any

import pytest

ARN = "arn:aws:lambda:us-east-1:123456789012:function:function"
ECHO = "def handler(event, context): return event"


def configuration(function: Any, **options: Any) -> dict[str, Any]:
    told: dict[str, Any] = function.api.get_function_configuration(FunctionName="function", **options)
    del told["ResponseMetadata"]
    return told


def test_what_is_created_is_told(local_aws: Any, function: Any) -> None:
    local_aws.create_function(
        ECHO,
        Description="an echo",
        Environment={"Variables": {"COLOUR": "grey"}},
        EphemeralStorage={"Size": 1024},
        MemorySize=256,
        Timeout=10,
        TracingConfig={"Mode": "Active"},
    )
    told = configuration(function)
    assert told["LastModified"]
    assert told["RevisionId"]
    expected = {
        "Description": "an echo",
        "Environment": {"Variables": {"COLOUR": "grey"}},
        "EphemeralStorage": {"Size": 1024},
        "FunctionArn": ARN,
        "FunctionName": "function",
        "Handler": "module.handler",
        "LastUpdateStatus": "Successful",
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/function"},
        "MemorySize": 256,
        "PackageType": "Zip",
        "Role": "arn:aws:iam::123456789012:role/function-role",
        "Runtime": "python3.12",
        "State": "Active",
        "Timeout": 10,
        "TracingConfig": {"Mode": "Active"},
        "Version": "$LATEST",
    }
    assert {name: told.get(name) for name in expected} == expected
    got = function.api.get_function(FunctionName=ARN)
    assert got["Configuration"] == told
    assert got["Code"]["RepositoryType"] == "S3"
    assert [one["FunctionName"] for one in function.api.list_functions()["Functions"]] == ["function"]


def test_what_is_changed_is_told_and_the_rest_stays(local_aws: Any, function: Any) -> None:
    local_aws.create_function(ECHO, Environment={"Variables": {"COLOUR": "grey"}}, Timeout=10)
    before = configuration(function)
    answer = function.api.update_function_configuration(FunctionName="function", MemorySize=512, Description="x")
    assert (answer["MemorySize"], answer["Description"]) == (512, "x")
    after = configuration(function)
    assert after["RevisionId"] != before["RevisionId"]
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"Description", "LastModified", "MemorySize", "RevisionId"}
    function.api.update_function_configuration(FunctionName="function", Environment={"Variables": {}})
    assert "Environment" not in configuration(function)


def test_new_code_is_told(local_aws: Any, function: Any) -> None:
    local_aws.create_function(ECHO)
    before = configuration(function)
    code = {"FunctionName": "function", "ZipFile": local_aws.zip_of("def handler(event, context): return 1")}
    assert function.api.update_function_code(**code, DryRun=True)["CodeSha256"] == before["CodeSha256"]
    assert function.invoke(2) == 2
    answer = function.api.update_function_code(**code, Publish=True)
    assert (answer["Version"], answer["FunctionArn"]) == ("1", f"{ARN}:1")
    assert answer["CodeSha256"] != before["CodeSha256"]
    assert function.invoke(2) == 1


def test_a_function_is_made_once(local_aws: Any, function: Any) -> None:
    local_aws.create_function(ECHO)
    role = "arn:aws:iam::123456789012:role/function-role"
    error = function.refused(local_aws.create_function, ECHO, role=role)["Error"]
    assert error == {"Code": "ResourceConflictException", "Message": "Function already exist: function"}


@pytest.mark.parametrize(
    ("operation", "options"),
    [
        ("create_alias", {"Name": "live", "FunctionVersion": "1"}),
        ("create_function_url_config", {"AuthType": "NONE"}),
        ("delete_alias", {"Name": "live"}),
        ("delete_function", {}),
        ("delete_function", {"Qualifier": "1"}),
        ("delete_function_concurrency", {}),
        ("delete_function_event_invoke_config", {}),
        ("delete_function_url_config", {}),
        ("delete_provisioned_concurrency_config", {"Qualifier": "1"}),
        ("get_alias", {"Name": "live"}),
        ("get_function", {}),
        ("get_function_concurrency", {}),
        ("get_function_configuration", {"Qualifier": "live"}),
        ("get_function_event_invoke_config", {}),
        ("get_function_url_config", {"Qualifier": "live"}),
        ("get_provisioned_concurrency_config", {"Qualifier": "live"}),
        ("invoke", {"Qualifier": "1"}),
        ("list_aliases", {}),
        ("list_function_event_invoke_configs", {}),
        ("list_function_url_configs", {}),
        ("list_provisioned_concurrency_configs", {}),
        ("list_versions_by_function", {}),
        ("publish_version", {}),
        ("put_function_concurrency", {"ReservedConcurrentExecutions": 1}),
        ("put_function_event_invoke_config", {"MaximumRetryAttempts": 1}),
        ("put_provisioned_concurrency_config", {"Qualifier": "live", "ProvisionedConcurrentExecutions": 1}),
        ("update_alias", {"Name": "live"}),
        ("update_function_code", {"ZipFile": b""}),
        ("update_function_configuration", {"Timeout": 1}),
        ("update_function_event_invoke_config", {"MaximumRetryAttempts": 1}),
        ("update_function_url_config", {"AuthType": "NONE"}),
    ],
)
def test_what_does_not_exist_is_not_found(local_aws: Any, function: Any, operation: str, options: Any) -> None:
    response = function.refused(getattr(function.api, operation), FunctionName="nobody", **options)
    assert response["Error"]["Code"] == "ResourceNotFoundException"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 404
