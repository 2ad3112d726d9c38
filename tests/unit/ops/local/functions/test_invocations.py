"""Invoke: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

ECHO = "def handler(event, context): return {'event': event, 'id': context.aws_request_id}"
ARN = "arn:aws:lambda:us-east-1:123456789012:function:function"


def test_the_zip_answers_in_a_process_of_its_own(local_aws: Any, function: Any) -> None:
    local_aws.create_function(ECHO)
    answer = function.answer({"a": 1})
    payload = json.loads(answer["Payload"])
    assert payload["event"] == {"a": 1}
    assert payload["id"] == answer["ResponseMetadata"]["RequestId"]
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert len(function.pids()) == 1


@pytest.mark.parametrize("name", ["function", "function:$LATEST", "123456789012:function:function", ARN, f"{ARN}:1"])
def test_a_function_can_be_named_in_each_of_lambdas_ways(local_aws: Any, function: Any, name: str) -> None:
    local_aws.create_function("def handler(event, context): return context.invoked_function_arn", Publish=True)
    qualifier = name.removeprefix(ARN).removeprefix("function:") if name.endswith(("1", "$LATEST")) else ""
    assert function.invoke(FunctionName=name) == f"{ARN}:{qualifier.lstrip(':')}".rstrip(":")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"FunctionName": "nobody"}, "ResourceNotFoundException", f"Function not found: {ARN[:-8]}nobody"),
        (
            {"FunctionName": "nobody", "Qualifier": "live"},
            "ResourceNotFoundException",
            f"Function not found: {ARN[:-8]}nobody:live",
        ),
        ({"Qualifier": "7"}, "ResourceNotFoundException", f"Function not found: {ARN}:7"),
        ({"Qualifier": "live"}, "ResourceNotFoundException", f"Function not found: {ARN}:live"),
        (
            {"FunctionName": ARN.replace("us-east-1", "eu-west-1")},
            "ResourceNotFoundException",
            "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')",
        ),
        (
            {"FunctionName": f"{ARN}:1", "Qualifier": "2"},
            "InvalidParameterValueException",
            "The derived qualifier from the function name does not match the specified qualifier.",
        ),
    ],
)
def test_what_does_not_exist_is_named(
    local_aws: Any, function: Any, options: dict[str, str], code: str, message: str
) -> None:
    local_aws.create_function(ECHO)
    assert function.refused(function.invoke, **options)["Error"] == {"Code": code, "Message": message}


def test_an_event_that_is_no_json_is_refused(local_aws: Any, function: Any) -> None:
    local_aws.create_function(ECHO)
    error = function.refused(function.api.invoke, FunctionName="function", Payload=b"{")["Error"]
    assert error["Code"] == "InvalidRequestContentException"
    assert error["Message"].startswith("Could not parse request body into json")


def test_an_invocation_without_an_event_has_an_empty_one(local_aws: Any, function: Any) -> None:
    local_aws.create_function(ECHO)
    answer = function.api.invoke(FunctionName="function")
    assert json.loads(answer["Payload"].read())["event"] == {}


def test_the_client_context_reaches_the_function(local_aws: Any, function: Any) -> None:
    local_aws.create_function("def handler(event, context): return context.client_context.custom")
    context = base64.b64encode(b'{"custom": {"breed": "beagle"}}').decode()
    assert function.invoke(ClientContext=context) == {"breed": "beagle"}
    error = function.refused(function.invoke, ClientContext="nonsense")["Error"]
    assert error["Code"] == "InvalidRequestContentException"


def test_a_function_knows_its_deadline(local_aws: Any, function: Any) -> None:
    local_aws.create_function("def handler(event, context): return context.get_remaining_time_in_millis()", Timeout=60)
    assert 50_000 < function.invoke() <= 60_000


def test_a_dry_run_starts_nothing(local_aws: Any, function: Any) -> None:
    local_aws.create_function(ECHO)
    answer = function.answer(InvocationType="DryRun")
    assert (answer["StatusCode"], answer["Payload"]) == (204, b"")
    assert function.environments() == (0, 0)
    error = function.refused(function.answer, InvocationType="DryRun", FunctionName="nobody")["Error"]
    assert error["Code"] == "ResourceNotFoundException"


def test_a_dry_run_tells_who_may_not_invoke(local_aws: Any, function: Any) -> None:
    local_aws.create_function(ECHO)
    caller = local_aws.create_role("caller", local_aws.allow("lambda:GetFunction"))
    client = local_aws.client("lambda", local_aws.assume(caller))
    local_aws.assert_denied(client.invoke, FunctionName="function", InvocationType="DryRun")
