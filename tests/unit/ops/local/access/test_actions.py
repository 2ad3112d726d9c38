from __future__ import annotations

import io
import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest
from moto.core.request import Request

from whippet.local.access.actions import _BUCKET_SETTINGS, _S3_HEADERS, _TAG_ACTIONS, RENAMED, needs_of
from whippet.local.calls import Call, identify

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
        (
            "ec2",
            "run_instances",
            {
                "ImageId": "ami-1",
                "MinCount": 1,
                "MaxCount": 1,
                "SubnetId": "subnet-1",
                "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]}],
            },
            [
                ("ec2:RunInstances", ARN.format("ec2", "instance/*")),
                ("ec2:RunInstances", ARN.format("ec2", "network-interface/*")),
                ("ec2:RunInstances", ARN.format("ec2", "volume/*")),
                ("ec2:RunInstances", "arn:aws:ec2:us-east-1::image/ami-1"),
                ("ec2:RunInstances", ARN.format("ec2", "subnet/subnet-1")),
                ("ec2:CreateTags", ARN.format("ec2", "instance/*")),
            ],
        ),
        (
            "lambda",
            "invoke",
            {"FunctionName": "ask", "Qualifier": "live"},
            [("lambda:InvokeFunction", ARN.format("lambda", "function:ask:live"))],
        ),
        (
            "lambda",
            "put_provisioned_concurrency_config",
            {"FunctionName": "ask", "Qualifier": "live", "ProvisionedConcurrentExecutions": 1},
            [("lambda:PutProvisionedConcurrencyConfig", ARN.format("lambda", "function:ask:live"))],
        ),
        (
            "sagemaker",
            "create_model",
            {"ModelName": "dogs", "Tags": [{"Key": "a", "Value": "b"}]},
            [
                ("sagemaker:CreateModel", ARN.format("sagemaker", "model/dogs")),
                ("sagemaker:AddTags", ARN.format("sagemaker", "model/dogs")),
            ],
        ),
        (
            "cloudwatch",
            "put_composite_alarm",
            {"AlarmName": "any", "AlarmRule": "ALARM(one)"},
            [("cloudwatch:PutCompositeAlarm", ARN.format("cloudwatch", "alarm:any"))],
        ),
        ("cloudwatch", "put_metric_data", {"Namespace": "n", "MetricData": []}, [("cloudwatch:PutMetricData", "*")]),
        (
            "cloudwatch",
            "put_dashboard",
            {"DashboardName": "d", "DashboardBody": "{}"},
            [("cloudwatch:PutDashboard", "arn:aws:cloudwatch::123456789012:dashboard/d")],
        ),
        (
            "application-autoscaling",
            "register_scalable_target",
            {
                "ServiceNamespace": "sagemaker",
                "ResourceId": "endpoint/e/variant/v",
                "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
            },
            [
                (
                    "application-autoscaling:RegisterScalableTarget",
                    ARN.format("application-autoscaling", "scalable-target/*"),
                )
            ],
        ),
        (
            "budgets",
            "describe_budget",
            {"AccountId": "123456789012", "BudgetName": "b"},
            [("budgets:ViewBudget", "arn:aws:budgets::123456789012:budget/b")],
        ),
        (
            "sqs",
            "send_message_batch",
            {"QueueUrl": "http://127.0.0.1/123456789012/jobs", "Entries": []},
            [("sqs:SendMessage", ARN.format("sqs", "jobs"))],
        ),
        (
            "sns",
            "unsubscribe",
            {"SubscriptionArn": ARN.format("sns", "alarms:uuid")},
            [("sns:Unsubscribe", ARN.format("sns", "alarms"))],
        ),
        (
            "ssm",
            "get_parameters",
            {"Names": ["/aws/service/ami", "own"]},
            [
                ("ssm:GetParameters", "arn:aws:ssm:us-east-1::parameter/aws/service/ami"),
                ("ssm:GetParameters", ARN.format("ssm", "parameter/own")),
            ],
        ),
        (
            "iam",
            "create_role",
            {
                "RoleName": "r",
                "Path": "/ci/",
                "AssumeRolePolicyDocument": "{}",
                "Tags": [{"Key": "a", "Value": "b"}],
            },
            [
                ("iam:CreateRole", "arn:aws:iam::123456789012:role/ci/r"),
                ("iam:TagRole", "arn:aws:iam::123456789012:role/ci/r"),
            ],
        ),
        (
            "iam",
            "attach_role_policy",
            {"RoleName": "r", "PolicyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"},
            [("iam:AttachRolePolicy", "arn:aws:iam::123456789012:role/r")],
        ),
        (
            "iam",
            "add_role_to_instance_profile",
            {"InstanceProfileName": "p", "RoleName": "r"},
            [("iam:AddRoleToInstanceProfile", "arn:aws:iam::123456789012:instance-profile/p")],
        ),
        (
            "s3",
            "get_object",
            {"Bucket": "photos", "Key": "a", "VersionId": "v"},
            [("s3:GetObjectVersion", "arn:aws:s3:::photos/a")],
        ),
        (
            "s3",
            "put_object",
            {"Bucket": "photos", "Key": "a", "Tagging": "a=b", "ACL": "private"},
            [
                ("s3:PutObject", "arn:aws:s3:::photos/a"),
                ("s3:PutObjectAcl", "arn:aws:s3:::photos/a"),
                ("s3:PutObjectTagging", "arn:aws:s3:::photos/a"),
            ],
        ),
        (
            "s3",
            "delete_public_access_block",
            {"Bucket": "photos"},
            [("s3:PutBucketPublicAccessBlock", "arn:aws:s3:::photos")],
        ),
        (
            "s3",
            "delete_bucket_policy",
            {"Bucket": "photos"},
            [("s3:DeleteBucketPolicy", "arn:aws:s3:::photos")],
        ),
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


# Against AWS's reference, which cfn-lint brings


@cache
def reference() -> dict[str, Any]:
    """Services, their actions with the kinds of resources, and the patterns of those kinds' ARNs."""
    data: dict[str, Any] = json.loads(files("cfnlint.data.AdditionalSpecs").joinpath("Policies.json").read_text())
    return data


def patterns(service: str, action: str) -> list[str] | None:
    """Regular expressions of the ARNs that an action concerns; None where the reference does not know it."""
    actions = reference()[service]["Actions"]
    if action.lower() not in actions:
        return None
    kinds = reference()[service]["Resources"]
    formats = [
        one for kind in actions[action.lower()].get("Resources", ()) for one in kinds[kind.lower()]["ARNFormats"]
    ]
    return [re.sub(r"\$\{(Region|Account)\}", "[^:]*", one.replace("${Partition}", "aws")) for one in formats]


VALUES = {"AliasName": "alias/alias", "Path": "/path/", "ResourceType": "Parameter"}


def example(name: str, shape: Any, depth: int = 0) -> Any:
    """A value for a parameter; none for one that would hold a whole ARN, which is what is found then."""
    if shape.type_name == "string":
        return None if name.lower().endswith("arn") else VALUES.get(name, f"a-{name}")
    if shape.type_name == "list" and depth < 2:
        return [example(name, shape.member, depth + 1)]
    if shape.type_name == "structure" and depth < 2:
        return {key: example(key, member, depth + 1) for key, member in shape.members.items()}
    return None


#: Where AWS asks otherwise than its reference says, which error messages of AWS tell.
OTHERWISE = {("logs", "DescribeLogGroups")}
PREFIXES = {"sagemaker-runtime": "sagemaker"}


@pytest.mark.parametrize(
    "service",
    [
        "application-autoscaling",
        "budgets",
        "cloudwatch",
        "ec2",
        "ecr",
        "iam",
        "kms",
        "lambda",
        "logs",
        "s3",
        "sagemaker",
        "sagemaker-runtime",
        "sns",
        "sqs",
        "ssm",
        "sts",
        "xray",
    ],
)
def test_what_any_call_needs_is_an_action_of_aws_on_resources_of_its_kind(service: str) -> None:
    model = boto3.client(service, region_name="us-east-1").meta.service_model
    prefix = PREFIXES.get(service, service)
    for operation in model.operation_names:
        shape = model.operation_model(operation).input_shape
        members = shape.members.items() if shape else ()
        untagged = [(key, member) for key, member in members if "tag" not in key.lower()]
        params = {key: value for key, member in untagged if (value := example(key, member)) is not None}
        call = Call(service, operation, "us-east-1", "test", Request({"REQUEST_METHOD": "POST"}), params)
        call.__dict__["params"] = params
        call.request.environ["wsgi.input"] = io.BytesIO()
        for action, resource in needs_of(call):
            known = patterns(prefix, action.partition(":")[2])
            if known is None or resource == "*" or (service, operation) in OTHERWISE:
                continue
            assert any(re.fullmatch(one, resource) for one in known), (operation, action, resource, known)


@pytest.mark.parametrize(
    "action",
    [
        *RENAMED.values(),
        *_TAG_ACTIONS.values(),
        *(action for headers in _S3_HEADERS.values() for action in headers.values()),
        *(f"s3:Get{name}" for name in _BUCKET_SETTINGS.values()),
        *(f"s3:Put{name}" for name in _BUCKET_SETTINGS.values()),
    ],
)
def test_every_action_in_the_tables_is_one_of_aws(action: str) -> None:
    service, _, name = action.partition(":")
    assert patterns(service, name) is not None
