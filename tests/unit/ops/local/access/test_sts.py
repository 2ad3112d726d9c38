from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

ACCOUNT = "123456789012"


def create_role(local_aws: Any, name: str, principal: Any, condition: Any = None, **options: Any) -> str:
    """A role that may do anything, with this principal in its trust policy."""
    action = options.pop("action", "sts:AssumeRole")
    trust = {"Effect": "Allow", "Action": action, "Principal": principal, "Condition": condition or {}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam = local_aws.client("iam")
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document, **options)["Role"]["Arn"]
    everything = json.dumps({"Version": "2012-10-17", "Statement": [local_aws.allow("*")]})
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=everything)
    return arn


def create_user(local_aws: Any, name: str, *statements: dict[str, Any]) -> dict[str, str]:
    """The keys of a new user."""
    iam = local_aws.client("iam")
    iam.create_user(UserName=name)
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    iam.put_user_policy(UserName=name, PolicyName="inline", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"AccessKeyId": key["AccessKeyId"], "SecretAccessKey": key["SecretAccessKey"]}


def test_the_trust_policy_decides_who_may_assume_a_role(local_aws: Any) -> None:
    root, ann = f"arn:aws:iam::{ACCOUNT}:root", f"arn:aws:iam::{ACCOUNT}:user/ann"
    service = {"Service": "lambda.amazonaws.com"}
    roles = {
        name: create_role(local_aws, name, principal)
        for name, principal in (("own", {"AWS": ann}), ("account", {"AWS": root}), ("service", service))
    }
    ann_keys = create_user(local_aws, "ann", local_aws.allow("s3:ListAllMyBuckets"))
    bob_keys = create_user(local_aws, "bob", local_aws.allow("sts:AssumeRole"))
    expected = {
        ("ann", "own"): True,  # named, so that no permission of her own is needed
        ("ann", "account"): False,  # which leaves it to her own policies, and those do not say so
        ("ann", "service"): False,
        ("bob", "own"): False,
        ("bob", "account"): True,
        ("bob", "service"): False,
        ("test", "own"): False,
        ("test", "account"): True,
        ("test", "service"): False,
    }
    for (who, name), is_allowed in expected.items():
        sts = local_aws.client("sts", {"ann": ann_keys, "bob": bob_keys, "test": None}[who])
        arguments = {"RoleArn": roles[name], "RoleSessionName": "session"}
        if is_allowed:
            assumed = sts.assume_role(**arguments)
            assert assumed["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/session"
        else:
            message = local_aws.assert_denied(sts.assume_role, **arguments)
            assert f"is not authorized to perform: sts:AssumeRole on resource: {roles[name]}" in message
    message = local_aws.assert_denied(
        local_aws.client("sts").assume_role, RoleArn=f"arn:aws:iam::{ACCOUNT}:role/none", RoleSessionName="session"
    )
    assert message == (
        f"User: arn:aws:iam::{ACCOUNT}:root is not authorized to perform: sts:AssumeRole on resource: "
        f"arn:aws:iam::{ACCOUNT}:role/none"
    )


def test_a_trust_policy_can_ask_for_an_external_id(local_aws: Any) -> None:
    role = create_role(local_aws, "third", {"AWS": ACCOUNT}, {"StringEquals": {"sts:ExternalId": "secret"}})
    assume = local_aws.client("sts").assume_role
    local_aws.assert_denied(assume, RoleArn=role, RoleSessionName="session")
    local_aws.assert_denied(assume, RoleArn=role, RoleSessionName="session", ExternalId="guess")
    assert assume(RoleArn=role, RoleSessionName="session", ExternalId="secret")["Credentials"]


def test_a_trust_policy_can_ask_for_a_second_factor_which_nobody_has(local_aws: Any) -> None:
    condition = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    role = create_role(local_aws, "careful", {"AWS": ACCOUNT}, condition)
    keys = create_user(local_aws, "ann", local_aws.allow("*"))
    temporary = local_aws.client("sts", keys).get_session_token()["Credentials"]
    for who in (None, keys, temporary):
        assume = local_aws.client("sts", who).assume_role
        local_aws.assert_denied(assume, RoleArn=role, RoleSessionName="session")
    # Only temporary credentials say that there was none:
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
    role = create_role(local_aws, "without", {"AWS": ACCOUNT}, {"Bool": {"aws:MultiFactorAuthPresent": "false"}})
    assume = local_aws.client("sts", temporary).assume_role
    assert assume(RoleArn=role, RoleSessionName="session")["Credentials"]
    local_aws.assert_denied(local_aws.client("sts", keys).assume_role, RoleArn=role, RoleSessionName="session")


@pytest.mark.parametrize(
    ("operation", "seconds", "bound"),
    [
        ("assume_role", 899, "greater than or equal to 900"),
        ("assume_role", 43201, "less than or equal to 43200"),
        ("get_session_token", 899, "greater than or equal to 900"),
        ("get_session_token", 129601, "less than or equal to 129600"),
    ],
)
def test_how_long_a_session_may_last_at_all(local_aws: Any, operation: str, seconds: int, bound: str) -> None:
    role = create_role(local_aws, "long", {"AWS": ACCOUNT}, MaxSessionDuration=43200)
    whose = {"RoleArn": role, "RoleSessionName": "session"} if operation == "assume_role" else {}
    sts = boto3.client(
        "sts",
        region_name="us-east-1",
        endpoint_url=local_aws.settings.url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(parameter_validation=False),
    )
    with pytest.raises(ClientError) as refused:
        getattr(sts, operation)(DurationSeconds=seconds, **whose)
    assert refused.value.response["Error"]["Code"] == "ValidationError"
    assert refused.value.response["Error"]["Message"].endswith(f"Member must have value {bound}")


def test_a_session_lasts_as_long_as_it_may(local_aws: Any) -> None:
    role = create_role(local_aws, "long", {"AWS": ACCOUNT}, MaxSessionDuration=7200)
    assume = local_aws.client("sts").assume_role
    with pytest.raises(ClientError, match="exceeds the MaxSessionDuration"):
        assume(RoleArn=role, RoleSessionName="session", DurationSeconds=7201)
    made = assume(RoleArn=role, RoleSessionName="session", DurationSeconds=7200)["Credentials"]
    left = made["Expiration"] - datetime.now(UTC)
    assert timedelta(seconds=7100) < left <= timedelta(seconds=7200)
    chained = local_aws.client("sts", made).assume_role
    with pytest.raises(ClientError, match="1 hour session limit for roles assumed by role chaining"):
        chained(RoleArn=role, RoleSessionName="again", DurationSeconds=7200)
    assert chained(RoleArn=role, RoleSessionName="again")["Credentials"]


def test_session_policies_only_restrict(local_aws: Any) -> None:
    role = create_role(local_aws, "all", {"AWS": ACCOUNT})
    iam, assume = local_aws.client("iam"), local_aws.client("sts").assume_role
    document = json.dumps({"Version": "2012-10-17", "Statement": [local_aws.allow("s3:ListAllMyBuckets")]})
    managed = iam.create_policy(PolicyName="list", PolicyDocument=document)["Policy"]["Arn"]
    for limit in ({"Policy": document}, {"PolicyArns": [{"arn": managed}]}):
        session = assume(RoleArn=role, RoleSessionName="session", **limit)["Credentials"]
        assert local_aws.client("s3", session).list_buckets()["Buckets"] == []
        message = local_aws.assert_denied(local_aws.client("iam", session).list_roles)
        assert message.endswith("because no session policy allows the iam:ListRoles action")
    with pytest.raises(ClientError) as malformed:
        assume(RoleArn=role, RoleSessionName="session", Policy="{}")
    assert malformed.value.response["Error"]["Code"] == "MalformedPolicyDocument"


def test_session_tags_need_a_permission_and_are_the_principals(local_aws: Any) -> None:
    strict = create_role(local_aws, "strict", {"AWS": ACCOUNT})
    tags = [{"Key": "Team", "Value": "dogs"}]
    assume = local_aws.client("sts").assume_role
    local_aws.assert_denied(assume, RoleArn=strict, RoleSessionName="session", Tags=tags)
    role = create_role(local_aws, "tagged", {"AWS": ACCOUNT}, action=["sts:AssumeRole", "sts:TagSession"])
    own = local_aws.allow("s3:PutObject", "arn:aws:s3:::photos/${aws:PrincipalTag/Team}/*")
    document = json.dumps({"Version": "2012-10-17", "Statement": [own]})
    local_aws.client("iam").put_role_policy(RoleName="tagged", PolicyName="all", PolicyDocument=document)
    local_aws.client("s3").create_bucket(Bucket="photos")
    s3 = local_aws.client("s3", assume(RoleArn=role, RoleSessionName="session", Tags=tags)["Credentials"])
    assert s3.put_object(Bucket="photos", Key="dogs/a", Body=b"")["ETag"]
    local_aws.assert_denied(s3.put_object, Bucket="photos", Key="cats/a", Body=b"")


def test_a_role_that_is_made_again_does_not_get_the_sessions_of_the_one_before(local_aws: Any) -> None:
    role = create_role(local_aws, "again", {"AWS": ACCOUNT})
    sts = local_aws.client("sts", local_aws.assume(role))
    assert sts.get_caller_identity()["UserId"].endswith(":test")
    iam = local_aws.client("iam")
    iam.delete_role_policy(RoleName="again", PolicyName="all")
    iam.delete_role(RoleName="again")
    create_role(local_aws, "again", {"AWS": ACCOUNT})
    with pytest.raises(ClientError, match="security token included in the request is invalid"):
        sts.get_caller_identity()


def test_temporary_credentials_of_a_user_are_the_users(local_aws: Any) -> None:
    keys = create_user(local_aws, "ann", local_aws.allow("s3:ListAllMyBuckets"))
    session = local_aws.client("sts", keys).get_session_token()["Credentials"]
    assert local_aws.client("sts", session).get_caller_identity()["Arn"].endswith(":user/ann")
    assert local_aws.client("s3", session).list_buckets()["Buckets"] == []
    local_aws.assert_denied(local_aws.client("iam", session).list_roles)
    local_aws.assert_denied(local_aws.client("sts", session).get_session_token)
    own = local_aws.client("sts").get_session_token()["Credentials"]
    assert local_aws.client("iam", own).list_roles()["Roles"] == []


def test_everybody_is_told_who_they_are(local_aws: Any) -> None:
    assert local_aws.client("sts").get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"
    role = create_role(local_aws, "someone", {"AWS": ACCOUNT})
    caller = local_aws.client("sts", local_aws.assume(role)).get_caller_identity()
    role_id = local_aws.client("iam").get_role(RoleName="someone")["Role"]["RoleId"]
    assert (caller["UserId"], caller["Account"]) == (f"{role_id}:test", ACCOUNT)


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("get_federation_token", {"Name": "someone"}),
        (
            "assume_role_with_web_identity",
            {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/r", "RoleSessionName": "session", "WebIdentityToken": "token"},
        ),
    ],
)
def test_what_nobody_vouches_for_is_refused_clearly(local_aws: Any, operation: str, arguments: Any) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(local_aws.client("sts"), operation)(**arguments)
    assert refused.value.response["Error"]["Code"] == "NotImplemented"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
