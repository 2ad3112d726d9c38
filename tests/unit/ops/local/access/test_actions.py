from __future__ import annotations

import io
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest
from moto.core.request import Request

from whippet.local.access.actions import needs_of
from whippet.local.calls import identify

ARN = "arn:aws:{}:us-east-1:123456789012:{}"


class CapturedError(Exception):
    def __init__(self, request: AWSPreparedRequest) -> None:
        self.request = request


def request_for(service: str, operation: str, **arguments: Any) -> Request:
    """The HTTP request that boto3 makes of a call."""
    client = boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )

    def capture(request: AWSPreparedRequest, **_: Any) -> None:
        raise CapturedError(request)

    client.meta.events.register("before-send", capture)
    with pytest.raises(CapturedError) as captured:
        getattr(client, operation)(**arguments)
    sent = captured.value.request
    body = sent.body.read() if hasattr(sent.body, "read") else sent.body
    request = Request.from_primitives(sent.method, sent.url, sent.headers, body)
    request.environ["wsgi.input"] = io.BytesIO(body.encode() if isinstance(body, str) else body or b"")
    return request


@pytest.mark.parametrize(
    ("service", "operation", "arguments", "needs"),
    [
        (
            "sagemaker-runtime",
            "invoke_endpoint",
            {"EndpointName": "dogs", "Body": b"\xff\xd8", "ContentType": "application/x-www-form-urlencoded"},
            [("sagemaker:InvokeEndpoint", ARN.format("sagemaker", "endpoint/dogs"))],
        ),
        (
            "sagemaker",
            "create_endpoint",
            {"EndpointName": "dogs", "EndpointConfigName": "v2"},
            [
                ("sagemaker:CreateEndpoint", ARN.format("sagemaker", "endpoint-config/v2")),
                ("sagemaker:CreateEndpoint", ARN.format("sagemaker", "endpoint/dogs")),
            ],
        ),
        ("sagemaker", "list_endpoints", {}, [("sagemaker:ListEndpoints", "*")]),
        (
            "sagemaker",
            "add_tags",
            {"ResourceArn": ARN.format("sagemaker", "endpoint/dogs"), "Tags": []},
            [("sagemaker:AddTags", ARN.format("sagemaker", "endpoint/dogs"))],
        ),
        (
            "lambda",
            "invoke",
            {"FunctionName": "ask", "Payload": b"{}"},
            [("lambda:InvokeFunction", ARN.format("lambda", "function:ask"))],
        ),
        (
            "lambda",
            "invoke",
            {"FunctionName": ARN.format("lambda", "function:ask")},
            [("lambda:InvokeFunction", ARN.format("lambda", "function:ask"))],
        ),
        (
            "lambda",
            "get_function",
            {"FunctionName": "ask"},
            [("lambda:GetFunction", ARN.format("lambda", "function:ask"))],
        ),
        ("s3", "list_buckets", {}, [("s3:ListAllMyBuckets", "*")]),
        ("s3", "list_objects_v2", {"Bucket": "photos"}, [("s3:ListBucket", "arn:aws:s3:::photos")]),
        (
            "s3",
            "head_object",
            {"Bucket": "photos", "Key": "a/b c.jpg"},
            [("s3:GetObject", "arn:aws:s3:::photos/a/b c.jpg")],
        ),
        (
            "s3",
            "put_object",
            {"Bucket": "photos", "Key": "a", "Body": b"1"},
            [("s3:PutObject", "arn:aws:s3:::photos/a")],
        ),
        (
            "s3",
            "copy_object",
            {"Bucket": "photos", "Key": "b", "CopySource": {"Bucket": "other", "Key": "a"}},
            [("s3:PutObject", "arn:aws:s3:::photos/b"), ("s3:GetObject", "arn:aws:s3:::other/a")],
        ),
        (
            "s3",
            "delete_objects",
            {"Bucket": "photos", "Delete": {"Objects": [{"Key": "a"}, {"Key": "b"}]}},
            [("s3:DeleteObject", "arn:aws:s3:::photos/a"), ("s3:DeleteObject", "arn:aws:s3:::photos/b")],
        ),
        (
            "logs",
            "put_log_events",
            {"logGroupName": "/aws/lambda/ask", "logStreamName": "s", "logEvents": [{"timestamp": 0, "message": "m"}]},
            [("logs:PutLogEvents", ARN.format("logs", "log-group:/aws/lambda/ask:log-stream:s"))],
        ),
        (
            "logs",
            "create_log_group",
            {"logGroupName": "/aws/lambda/ask"},
            [("logs:CreateLogGroup", ARN.format("logs", "log-group:/aws/lambda/ask:log-stream:"))],
        ),
        (
            "ssm",
            "get_parameter",
            {"Name": "/whippet/ami"},
            [("ssm:GetParameter", ARN.format("ssm", "parameter/whippet/ami"))],
        ),
        ("iam", "get_role", {"RoleName": "r"}, [("iam:GetRole", "arn:aws:iam::123456789012:role/r")]),
        (
            "sts",
            "assume_role",
            {"RoleArn": "arn:aws:iam::123456789012:role/r", "RoleSessionName": "session"},
            [("sts:AssumeRole", "arn:aws:iam::123456789012:role/r")],
        ),
        ("ec2", "describe_instances", {}, [("ec2:DescribeInstances", "*")]),
    ],
)
def test_what_a_call_needs(
    service: str, operation: str, arguments: dict[str, Any], needs: list[tuple[str, str]]
) -> None:
    assert needs_of(identify(request_for(service, operation, **arguments))) == needs


def test_a_presigned_url_is_the_call_of_who_signed_it() -> None:
    client = boto3.client("s3", region_name="eu-west-1", aws_access_key_id="key", aws_secret_access_key="secret")
    url = client.generate_presigned_url("get_object", {"Bucket": "photos", "Key": "a.jpg"})
    call = identify(Request.from_primitives("GET", f"http://127.0.0.1/photos/a.jpg?{url.split('?')[1]}", {}))
    assert (call.access_key, call.service, call.operation) == ("key", "s3", "GetObject")
