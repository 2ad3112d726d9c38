from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

ACCOUNT = "123456789012"
INSTANCE_TYPES = {"sagemaker:InstanceTypes": ["ml.m5.large", "ml.c6i.large"]}
TEAM = [{"Key": "Team", "Value": "dogs"}]


def session(local_aws: Any, action: str | list[str], condition: dict[str, Any], resource: str = "*") -> Any:
    """Credentials of a role that may do something on a condition."""
    return local_aws.assume(
        local_aws.create_role("conditional", local_aws.allow(action, resource, Condition=condition))
    )


@pytest.mark.parametrize(
    ("service", "operation", "arguments", "condition", "other"),
    [
        (
            "cloudwatch",
            "put_metric_data",
            {"Namespace": "dogs", "MetricData": [{"MetricName": "m", "Value": 1.0}]},
            {"StringLike": {"cloudwatch:namespace": ["do*"]}},
            {"Namespace": "cats"},
        ),
        (
            "s3",
            "list_objects_v2",
            {"Bucket": "photos", "Prefix": "data/x"},
            {"StringLike": {"s3:prefix": ["data/*"]}},
            {"Prefix": "runs/"},
        ),
        (
            "sagemaker",
            "create_endpoint_config",
            {
                "EndpointConfigName": "c",
                "ProductionVariants": [
                    {
                        "VariantName": "v",
                        "ModelName": "m",
                        "InstanceType": "ml.m5.large",
                        "InitialInstanceCount": 1,
                    }
                ],
            },
            {"ForAllValues:StringEquals": INSTANCE_TYPES},
            {
                "ProductionVariants": [
                    {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.p3.2xlarge", "InitialInstanceCount": 1}
                ]
            },
        ),
        (
            "application-autoscaling",
            "describe_scalable_targets",
            {"ServiceNamespace": "sagemaker"},
            {"StringEquals": {"application-autoscaling:service-namespace": "sagemaker"}},
            {"ServiceNamespace": "ecs"},
        ),
        (
            "sqs",
            "create_queue",
            {"QueueName": "q", "tags": {"Team": "dogs"}},
            {"StringEquals": {"aws:RequestTag/Team": "dogs"}, "ForAllValues:StringEquals": {"aws:TagKeys": ["Team"]}},
            {"tags": {"Team": "dogs", "Owner": "me"}},
        ),
        (
            "iam",
            "create_role",
            {
                "RoleName": "r",
                "AssumeRolePolicyDocument": '{"Version": "2012-10-17", "Statement": []}',
                "PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/limit",
            },
            {"ArnEquals": {"iam:PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/limit"}},
            {"PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/other"},
        ),
    ],
)
def test_conditions_see_what_a_call_asks_for(
    local_aws: Any, service: str, operation: str, arguments: Any, condition: Any, other: Any
) -> None:
    local_aws.client("s3").create_bucket(Bucket="photos")
    document = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
    local_aws.client("iam").create_policy(PolicyName="limit", PolicyDocument=document)
    container = {"PrimaryContainer": {"Image": "image"}}
    role = local_aws.create_role("model", local_aws.allow("logs:*"))
    local_aws.client("sagemaker").create_model(ModelName="m", ExecutionRoleArn=role, **container)
    call = getattr(local_aws.client(service, session(local_aws, "*", condition)), operation)
    local_aws.assert_denied(call, **{**arguments, **other})
    assert call(**arguments)["ResponseMetadata"]["HTTPStatusCode"] in (200, 201)


def test_the_data_plane_asks_for_its_keys_too(local_aws: Any) -> None:
    condition = {"StringEquals": {"sagemaker:TargetModel": "dogs.tar.gz"}}
    keys = session(local_aws, "sagemaker:InvokeEndpoint", condition)
    invoke = local_aws.client("sagemaker-runtime", keys).invoke_endpoint
    for more in ({}, {"TargetModel": "cats.tar.gz"}):
        local_aws.assert_denied(invoke, EndpointName="endpoint", Body=b"photo", **more)
    with pytest.raises(ClientError, match="ValidationError"):  # it may, and there is no endpoint
        invoke(EndpointName="endpoint", Body=b"photo", TargetModel="dogs.tar.gz")


@pytest.mark.parametrize(
    ("key", "value", "is_allowed"),
    [
        ("aws:PrincipalArn", f"arn:aws:iam::{ACCOUNT}:role/conditional", True),
        ("aws:PrincipalAccount", ACCOUNT, True),
        ("aws:PrincipalType", "AssumedRole", True),
        ("aws:RequestedRegion", "us-east-1", True),
        ("aws:RequestedRegion", "eu-west-1", False),
        ("aws:SecureTransport", "true", True),
        ("aws:ViaAWSService", "false", True),
        ("aws:PrincipalIsAWSService", "false", True),
        ("aws:ResourceAccount", ACCOUNT, True),
        ("aws:SourceArn", "*", False),
        ("aws:SourceVpc", "*", False),
        ("aws:username", "*", False),
        ("aws:userid", "AROA*:test", True),
    ],
)
def test_the_global_keys(local_aws: Any, key: str, value: str, is_allowed: bool) -> None:
    call = local_aws.client("sagemaker", session(local_aws, "*", {"StringLike": {key: value}})).list_models
    if is_allowed:
        assert call()["Models"] == []
    else:
        local_aws.assert_denied(call)


def test_times_are_the_walls(local_aws: Any) -> None:
    window = {
        "DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"},
        "NumericGreaterThan": {"aws:EpochTime": "1577836800"},
        "DateGreaterThanEquals": {"aws:TokenIssueTime": "2020-01-01T00:00:00Z"},
        "IpAddress": {"aws:SourceIp": "127.0.0.0/8"},
    }
    assert local_aws.client("sagemaker", session(local_aws, "*", window)).list_models()["Models"] == []
    closed = {"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}
    role = local_aws.create_role("late", local_aws.allow("*", Condition=closed))
    local_aws.assert_denied(local_aws.client("sagemaker", local_aws.assume(role)).list_models)


def test_a_resources_tags_can_be_asked_for(local_aws: Any) -> None:
    sagemaker = local_aws.client("sagemaker")
    role = local_aws.create_role("model", local_aws.allow("logs:*"))
    for name, tags in (("tagged", TEAM), ("plain", [])):
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer={"Image": "image"}, Tags=tags)
    condition = {"StringEquals": {"aws:ResourceTag/team": "dogs"}}
    describe = local_aws.client("sagemaker", session(local_aws, "*", condition)).describe_model
    assert describe(ModelName="tagged")["ModelName"] == "tagged"
    local_aws.assert_denied(describe, ModelName="plain")
    local_aws.assert_denied(describe, ModelName="missing")


def test_instances_roles_logs_and_functions_have_tags_too(local_aws: Any) -> None:
    image = local_aws.client("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    tagged = {"TagSpecifications": [{"ResourceType": "instance", "Tags": TEAM}]}
    launched = local_aws.client("ec2").run_instances(ImageId=image, MinCount=1, MaxCount=1, **tagged)
    instance = launched["Instances"][0]["InstanceId"]
    trust = '{"Version": "2012-10-17", "Statement": []}'
    local_aws.client("iam").create_role(RoleName="tagged", AssumeRolePolicyDocument=trust, Tags=TEAM)
    local_aws.client("logs").create_log_group(logGroupName="tagged", tags={"Team": "dogs"})
    condition = {"StringEquals": {"aws:ResourceTag/Team": "dogs"}}
    keys = session(local_aws, "*", condition)
    assert local_aws.client("ec2", keys).stop_instances(InstanceIds=[instance])["StoppingInstances"]
    assert local_aws.client("iam", keys).get_role(RoleName="tagged")["Role"]
    assert local_aws.client("logs", keys).describe_log_streams(logGroupName="tagged")["logStreams"] == []
    local_aws.assert_denied(local_aws.client("iam", keys).get_role, RoleName="conditional")
