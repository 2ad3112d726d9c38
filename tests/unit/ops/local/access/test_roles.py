from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from whippet.local.access.roles import PASSED
from whippet.local.calls import service_model

ACCOUNT = "123456789012"
FUNCTION = {"FunctionName": "f", "Runtime": "python3.12", "Handler": "module.handler"}
MODEL = {"ModelName": "model", "PrimaryContainer": {"Image": "image"}}


def passing(role: str, service: str | None = None) -> dict[str, Any]:
    condition = {"Condition": {"StringEquals": {"iam:PassedToService": service}}} if service else {}
    return {"Effect": "Allow", "Action": "iam:PassRole", "Resource": role, **condition}


def test_a_role_can_be_passed_on_only_by_whom_iam_lets(local_aws: Any) -> None:
    role = local_aws.create_role("execution", local_aws.allow("logs:*"))
    create = local_aws.allow("sagemaker:CreateModel")
    deployer = local_aws.create_role("deployer", create)
    sagemaker = local_aws.client("sagemaker", local_aws.assume(deployer))
    message = local_aws.assert_denied(sagemaker.create_model, ExecutionRoleArn=role, **MODEL)
    assert message == (
        f"User: arn:aws:sts::{ACCOUNT}:assumed-role/deployer/test is not authorized to perform: iam:PassRole on "
        f"resource: {role} because no identity-based policy allows the iam:PassRole action"
    )
    for service, is_allowed in (("lambda.amazonaws.com", False), ("sagemaker.amazonaws.com", True)):
        statement = passing(role, service)
        document = json.dumps({"Version": "2012-10-17", "Statement": [create, statement]})
        local_aws.client("iam").put_role_policy(RoleName="deployer", PolicyName="inline", PolicyDocument=document)
        if is_allowed:
            assert sagemaker.create_model(ExecutionRoleArn=role, **MODEL)["ModelArn"]
        else:
            local_aws.assert_denied(sagemaker.create_model, ExecutionRoleArn=role, **MODEL)


def test_who_may_not_make_what_a_role_is_passed_to_is_told_so_first(local_aws: Any) -> None:
    role = local_aws.create_role("execution", local_aws.allow("logs:*"))
    nobody = local_aws.assume(local_aws.create_role("nobody", local_aws.allow("logs:*")))
    message = local_aws.assert_denied(
        local_aws.client("sagemaker", nobody).create_model, ExecutionRoleArn=role, **MODEL
    )
    assert "is not authorized to perform: sagemaker:CreateModel on resource" in message


def test_an_instances_profile_passes_its_role(local_aws: Any) -> None:
    role = local_aws.create_role("instance", local_aws.allow("s3:GetObject"))
    iam = local_aws.client("iam")
    iam.create_instance_profile(InstanceProfileName="profile")
    launcher = local_aws.create_role("launcher", local_aws.allow(["ec2:*", "iam:AddRoleToInstanceProfile"]))
    session = local_aws.assume(launcher)
    add = local_aws.client("iam", session).add_role_to_instance_profile
    assert "iam:PassRole" in local_aws.assert_denied(add, InstanceProfileName="profile", RoleName="instance")
    iam.add_role_to_instance_profile(InstanceProfileName="profile", RoleName="instance")
    image = local_aws.client("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    run = local_aws.client("ec2", session).run_instances
    arguments = {"ImageId": image, "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.large"}
    message = local_aws.assert_denied(run, IamInstanceProfile={"Name": "profile"}, **arguments)
    assert f"iam:PassRole on resource: {role}" in message
    assert run(**arguments)["Instances"]


@pytest.mark.parametrize("principal", [{"Service": "ec2.amazonaws.com"}, {"AWS": ACCOUNT}, None])
def test_a_role_that_does_not_trust_the_service_cannot_be_passed_to_it(local_aws: Any, principal: Any) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/execution"
    if principal:
        trust = {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}]}
        local_aws.client("iam").create_role(RoleName="execution", AssumeRolePolicyDocument=json.dumps(trust))
    with pytest.raises(ClientError) as refused:
        local_aws.create_function("", name="f", role=role)
    assert refused.value.response["Error"] == {
        "Code": "InvalidParameterValueException",
        "Message": "The role defined for the function cannot be assumed by Lambda.",
    }
    with pytest.raises(ClientError) as refused:
        local_aws.client("sagemaker").create_model(ExecutionRoleArn=role, **MODEL)
    assert refused.value.response["Error"] == {
        "Code": "ValidationException",
        "Message": f"Could not assume role {role}. Please ensure that the role exists and allows principal "
        "'sagemaker.amazonaws.com' to assume the role.",
    }


@pytest.mark.parametrize(
    ("condition", "is_trusted"),
    [
        ({"StringEquals": {"aws:SourceAccount": ACCOUNT}}, True),
        ({"StringEquals": {"aws:SourceAccount": "210987654321"}}, False),
        ({"ArnLike": {"aws:SourceArn": f"arn:aws:sagemaker:*:{ACCOUNT}:model/*"}}, True),
        ({"ArnLike": {"aws:SourceArn": f"arn:aws:sagemaker:*:{ACCOUNT}:endpoint/*"}}, False),
    ],
)
def test_a_trust_policy_can_ask_for_whom_the_service_acts(local_aws: Any, condition: Any, is_trusted: bool) -> None:
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "sagemaker.amazonaws.com"}}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [{**statement, "Condition": condition}]})
    iam, sagemaker = local_aws.client("iam"), local_aws.client("sagemaker")
    role = iam.create_role(RoleName="execution", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    if is_trusted:
        assert sagemaker.create_model(ExecutionRoleArn=role, **MODEL)["ModelArn"]
    else:
        with pytest.raises(ClientError, match="Could not assume role"):
            sagemaker.create_model(ExecutionRoleArn=role, **MODEL)


def test_every_operation_in_the_table_exists() -> None:
    for service, operation in PASSED:
        model = service_model(service)
        assert model is not None, service
        assert operation in model.operation_names, operation
