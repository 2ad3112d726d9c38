from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.core.request import Request

from whippet.local.access.function_urls import authorise_url
from whippet.local.calls import AwsError

URL = "http://abcdefghij.lambda-url.us-east-1.on.aws/photos"


def ask(keys: dict[str, str] | None, auth_type: str, service: str = "lambda", region: str = "us-east-1") -> str:
    """Who a request to a function's URL comes from, or why it is refused."""
    made = AWSRequest("GET", URL)
    if keys is not None:
        credentials = Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys.get("SessionToken"))
        SigV4Auth(credentials, service, region).add_auth(made)
    request = Request.from_primitives("GET", URL, dict(made.headers.items()))
    try:
        return authorise_url(request, "us-east-1", "function", "", auth_type).arn or "anybody"
    except AwsError as error:
        return f"{error.status} {error.code}"


def permit(local_aws: Any, auth_type: str, principal: str) -> None:
    """Both permissions, as https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html has them."""
    client = local_aws.client("lambda")
    client.add_permission(
        FunctionName="function",
        StatementId="url",
        Action="lambda:InvokeFunctionUrl",
        Principal=principal,
        FunctionUrlAuthType=auth_type,
    )
    client.add_permission(
        FunctionName="function",
        StatementId="invoke",
        Action="lambda:InvokeFunction",
        Principal=principal,
        InvokedViaFunctionUrl=True,
    )


@pytest.fixture
def function(local_aws: Any) -> Any:
    local_aws.create_function("def handler(event, context): return 1")
    return local_aws


def test_a_url_for_everybody_needs_the_functions_policy(function: Any) -> None:
    assert ask(None, "NONE") == "403 AccessDeniedException"
    permit(function, "NONE", "*")
    assert ask(None, "NONE") == "anybody"
    assert ask(None, "AWS_IAM") == "403 AccessDeniedException"
    # and through the API the function stays closed
    role = function.create_role("caller", function.allow("s3:GetObject"))
    invoke = function.client("lambda", function.assume(role)).invoke
    function.assert_denied(invoke, FunctionName="function")


def test_a_url_for_who_signs_takes_the_callers_policies(function: Any) -> None:
    assert ask({"AccessKeyId": "test", "SecretAccessKey": "test"}, "AWS_IAM") == "arn:aws:iam::123456789012:root"
    role = function.create_role("caller", function.allow(["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"]))
    keys = function.assume(role)
    assert ask(keys, "AWS_IAM").endswith("assumed-role/caller/test")
    assert ask({**keys, "SecretAccessKey": "x"}, "AWS_IAM") == "403 InvalidSignatureException"
    assert ask(keys, "AWS_IAM", service="execute-api") == "403 InvalidSignatureException"
    assert ask(keys, "AWS_IAM", region="eu-west-1") == "403 InvalidSignatureException"
    only_url = function.create_role("half", function.allow("lambda:InvokeFunctionUrl"))
    assert ask(function.assume(only_url), "AWS_IAM") == "403 AccessDeniedException"


def test_a_role_can_be_let_in_by_the_functions_policy(function: Any) -> None:
    role = function.create_role("caller", function.allow("s3:GetObject"))
    permit(function, "AWS_IAM", role)
    assert ask(function.assume(role), "AWS_IAM").endswith("assumed-role/caller/test")
    assert ask(None, "NONE") == "403 AccessDeniedException"


def test_the_policy_tells_its_conditions(function: Any) -> None:
    permit(function, "NONE", "*")
    policy = json.loads(function.client("lambda").get_policy(FunctionName="function")["Policy"])
    assert [statement["Condition"] for statement in policy["Statement"]] == [
        {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}},
        {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}},
    ]
