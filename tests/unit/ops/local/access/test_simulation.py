from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError


def decisions(answer: dict[str, Any]) -> list[str]:
    return [result["EvalDecision"] for result in answer["EvaluationResults"]]


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def test_the_simulator_says_what_a_call_would_be_told(local_aws: Any) -> None:
    deny = {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "*"}
    role = local_aws.create_role("reader", local_aws.allow("s3:*", "arn:aws:s3:::photos/*"), deny)
    answer = local_aws.client("iam").simulate_principal_policy(
        PolicySourceArn=role,
        ActionNames=["s3:GetObject", "s3:DeleteObject"],
        ResourceArns=["arn:aws:s3:::photos/a", "arn:aws:s3:::other/a"],
    )
    assert decisions(answer) == ["allowed", "implicitDeny", "explicitDeny", "explicitDeny"]


def test_the_simulator_takes_the_context_that_it_is_given(local_aws: Any) -> None:
    condition = {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}
    document = policy(local_aws.allow("ec2:RunInstances", Condition=condition))
    simulate = local_aws.client("iam").simulate_custom_policy
    [result] = simulate(PolicyInputList=[document], ActionNames=["ec2:RunInstances"])["EvaluationResults"]
    assert (result["EvalDecision"], result["MissingContextValues"]) == ("implicitDeny", ["aws:requestedregion"])
    entry = {"ContextKeyName": "aws:RequestedRegion", "ContextKeyValues": ["eu-west-1"], "ContextKeyType": "string"}
    answer = simulate(PolicyInputList=[document], ActionNames=["ec2:RunInstances"], ContextEntries=[entry])
    assert decisions(answer) == ["allowed"]


def test_a_boundary_restricts_what_is_simulated_of_users_and_roles_and_of_calls(local_aws: Any) -> None:
    iam = local_aws.client("iam")
    boundary = iam.create_policy(PolicyName="limit", PolicyDocument=policy(local_aws.allow("s3:*")))["Policy"]["Arn"]
    iam.create_user(UserName="ann", PermissionsBoundary=boundary)
    iam.put_user_policy(UserName="ann", PolicyName="all", PolicyDocument=policy(local_aws.allow("*")))
    role = local_aws.create_role("limited", local_aws.allow("*"))
    iam.put_role_permissions_boundary(RoleName="limited", PermissionsBoundary=boundary)
    keys = iam.create_access_key(UserName="ann")["AccessKey"]
    user = {"AccessKeyId": keys["AccessKeyId"], "SecretAccessKey": keys["SecretAccessKey"]}
    for arn, credentials in ((iam.get_user(UserName="ann")["User"]["Arn"], user), (role, local_aws.assume(role))):
        simulated = iam.simulate_principal_policy(
            PolicySourceArn=arn, ActionNames=["s3:ListAllMyBuckets", "iam:ListRoles"]
        )
        assert decisions(simulated) == ["allowed", "implicitDeny"]
        assert local_aws.client("s3", credentials).list_buckets()["Buckets"] == []
        message = local_aws.assert_denied(local_aws.client("iam", credentials).list_roles)
        assert message.endswith("because no permissions boundary allows the iam:ListRoles action")
    described = iam.get_user(UserName="ann")["User"]["PermissionsBoundary"]
    assert described["PermissionsBoundaryArn"] == boundary
    iam.delete_user_permissions_boundary(UserName="ann")
    assert "PermissionsBoundary" not in iam.get_user(UserName="ann")["User"]
    assert local_aws.client("iam", user).list_roles()["Roles"]


def test_nobody_cannot_be_simulated(local_aws: Any) -> None:
    with pytest.raises(ClientError) as refused:
        local_aws.client("iam").simulate_principal_policy(
            PolicySourceArn="arn:aws:iam::123456789012:role/none", ActionNames=["s3:GetObject"]
        )
    assert refused.value.response["Error"]["Code"] == "NoSuchEntity"
    with pytest.raises(ClientError) as refused:
        local_aws.client("iam").simulate_custom_policy(PolicyInputList=["{}"], ActionNames=["s3:GetObject"])
    assert refused.value.response["Error"]["Code"] == "InvalidInput"
