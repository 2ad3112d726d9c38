from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

ENDPOINT = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/endpoint"


def test_a_role_may_do_what_its_policy_allows_and_nothing_else(local_aws: Any) -> None:
    local_aws.create_endpoint()
    role = local_aws.create_role("caller", local_aws.allow("sagemaker:InvokeEndpoint", ENDPOINT))
    session = local_aws.assume(role)
    runtime = local_aws.client("sagemaker-runtime", session)
    assert runtime.invoke_endpoint(EndpointName="endpoint", Body=b"photo")["Body"].read()

    message = local_aws.assert_denied(runtime.invoke_endpoint, EndpointName="another", Body=b"photo")
    assert message == (
        "User: arn:aws:sts::123456789012:assumed-role/caller/test is not authorized to perform: "
        "sagemaker:InvokeEndpoint on resource: arn:aws:sagemaker:us-east-1:123456789012:endpoint/another "
        "because no identity-based policy allows the sagemaker:InvokeEndpoint action"
    )
    sagemaker = local_aws.client("sagemaker", session)
    local_aws.assert_denied(sagemaker.describe_endpoint, EndpointName="endpoint")
    local_aws.assert_denied(sagemaker.list_endpoints)


@pytest.mark.parametrize(
    ("service", "operation", "arguments", "code", "status"),
    [
        ("sagemaker", "list_models", {}, "AccessDeniedException", 400),
        ("sagemaker-runtime", "invoke_endpoint", {"EndpointName": "e", "Body": b""}, "AccessDeniedException", 403),
        ("lambda", "list_functions", {}, "AccessDeniedException", 403),
        ("lambda", "invoke", {"FunctionName": "f"}, "AccessDeniedException", 403),
        ("iam", "list_roles", {}, "AccessDenied", 403),
        ("s3", "list_buckets", {}, "AccessDenied", 403),
        ("s3", "get_object", {"Bucket": "b", "Key": "k"}, "AccessDenied", 403),
        ("ec2", "describe_instances", {}, "UnauthorizedOperation", 403),
        ("ssm", "get_parameter", {"Name": "n"}, "AccessDeniedException", 400),
    ],
)
def test_each_protocol_denies_in_its_own_way(
    local_aws: Any, service: str, operation: str, arguments: dict[str, Any], code: str, status: int
) -> None:
    session = local_aws.assume(local_aws.create_role("nobody", local_aws.allow("sts:TagSession")))
    with pytest.raises(ClientError) as denied:
        getattr(local_aws.client(service, session), operation)(**arguments)
    assert denied.value.response["Error"]["Code"] == code
    assert denied.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert "User: arn:aws:sts::123456789012:assumed-role/nobody/test is not authorized" in str(denied.value)


def test_anyone_may_ask_who_they_are(local_aws: Any) -> None:
    session = local_aws.assume(local_aws.create_role("nobody", local_aws.allow("s3:ListBucket")))
    caller = local_aws.client("sts", session).get_caller_identity()
    assert caller["Arn"] == "arn:aws:sts::123456789012:assumed-role/nobody/test"


def test_an_explicit_deny_says_so(local_aws: Any) -> None:
    deny = {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "*"}
    session = local_aws.assume(local_aws.create_role("careful", local_aws.allow("s3:*"), deny))
    local_aws.client("s3").create_bucket(Bucket="photos")
    s3 = local_aws.client("s3", session)
    s3.put_object(Bucket="photos", Key="a.jpg", Body=b"1")
    message = local_aws.assert_denied(s3.delete_object, Bucket="photos", Key="a.jpg")
    assert message.endswith(
        's3:DeleteObject on resource: "arn:aws:s3:::photos/a.jpg" with an explicit deny in an identity-based policy'
    )


def test_attached_policies_count_and_a_change_counts_at_once(local_aws: Any) -> None:
    iam = local_aws.client("iam")
    role = local_aws.create_role("reader", local_aws.allow("sts:TagSession"))
    buckets = local_aws.client("s3", local_aws.assume(role)).list_buckets
    local_aws.assert_denied(buckets)
    document = json.dumps({"Version": "2012-10-17", "Statement": [local_aws.allow("s3:ListAllMyBuckets")]})
    policy = iam.create_policy(PolicyName="list", PolicyDocument=document)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="reader", PolicyArn=policy)
    assert buckets()["Buckets"] == []
    iam.detach_role_policy(RoleName="reader", PolicyArn=policy)
    local_aws.assert_denied(buckets)


def test_a_users_keys_are_held_to_the_users_and_its_groups_policies(local_aws: Any) -> None:
    iam = local_aws.client("iam")
    iam.create_user(UserName="ann")
    created = iam.create_access_key(UserName="ann")["AccessKey"]
    keys = {name: created[name] for name in ("AccessKeyId", "SecretAccessKey")}
    s3 = local_aws.client("s3", keys)
    local_aws.assert_denied(s3.list_buckets)
    iam.create_group(GroupName="readers")
    document = json.dumps({"Version": "2012-10-17", "Statement": [local_aws.allow("s3:ListAllMyBuckets")]})
    iam.put_group_policy(GroupName="readers", PolicyName="list", PolicyDocument=document)
    iam.add_user_to_group(GroupName="readers", UserName="ann")
    assert s3.list_buckets()["Buckets"] == []


def test_a_session_from_before_a_reset_is_nobodys(local_aws: Any) -> None:
    session = local_aws.assume(local_aws.create_role("gone", local_aws.allow("s3:*")))
    local_aws.gateway.reset()
    with pytest.raises(ClientError, match="The AWS Access Key Id you provided does not exist in our records"):
        local_aws.client("s3", session).list_buckets()


def test_users_who_name_nobody_ask_about_themselves(local_aws: Any) -> None:
    iam = local_aws.client("iam")
    iam.create_user(UserName="ann")
    own = local_aws.allow(["iam:GetUser", "iam:*AccessKey*"], "arn:aws:iam::123456789012:user/${aws:username}")
    document = json.dumps({"Version": "2012-10-17", "Statement": [own]})
    iam.put_user_policy(UserName="ann", PolicyName="own", PolicyDocument=document)
    created = iam.create_access_key(UserName="ann")["AccessKey"]
    ann = local_aws.client("iam", {name: created[name] for name in ("AccessKeyId", "SecretAccessKey")})
    assert ann.get_user()["User"]["UserName"] == "ann"
    assert len(ann.list_access_keys()["AccessKeyMetadata"]) == 1
    local_aws.assert_denied(ann.list_access_keys, UserName="bob")
    local_aws.assert_denied(ann.list_users)
