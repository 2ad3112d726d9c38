from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from botocore.exceptions import ClientError

from whippet.local.access.actions import Need
from whippet.local.access.policies import Decision, parse_policy
from whippet.local.access.principals import ADMINISTRATOR, ANONYMOUS, Grant, Principal, service_principal

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/reader"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/reader/me"
USER = f"arn:aws:iam::{ACCOUNT}:user/ann"
OBJECT = "arn:aws:s3:::photos/a.jpg"

nothing = parse_policy('{"Statement": []}')
everything = parse_policy('{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}')


def document(effect: str = "Allow", **members: Any) -> str:
    statement = {"Effect": effect, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::photos/*", **members}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def session(**members: Any) -> Principal:
    return Principal(SESSION, role_arn=ROLE, **members)


@pytest.mark.parametrize(
    ("principal", "named", "grant"),
    [
        (session(), {"AWS": SESSION}, Grant.SELF),
        (session(), {"AWS": ROLE}, Grant.ROLE),
        (session(), {"AWS": [USER, ROLE]}, Grant.ROLE),
        (session(), "*", Grant.ROLE),
        (session(), {"AWS": "*"}, Grant.ROLE),
        (session(), {"AWS": ACCOUNT}, Grant.ACCOUNT),
        (session(), {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, Grant.ACCOUNT),
        (session(), {"AWS": f"{ROLE[:-1]}*"}, Grant.NOBODY),
        (session(), {"Service": "lambda.amazonaws.com"}, Grant.NOBODY),
        (Principal(USER), {"AWS": USER}, Grant.SELF),
        (Principal(USER), "*", Grant.SELF),
        (Principal(USER), {"AWS": "arn:aws:iam::210987654321:root"}, Grant.NOBODY),
        (ANONYMOUS, "*", Grant.SELF),
        (ANONYMOUS, {"AWS": ACCOUNT}, Grant.NOBODY),
        (service_principal("lambda.amazonaws.com"), {"Service": ["ec2.amazonaws.com", "lambda.amazonaws.com"]}, 3),
        (service_principal("lambda.amazonaws.com"), {"Service": "*.amazonaws.com"}, Grant.NOBODY),
        (service_principal("lambda.amazonaws.com"), {"AWS": "*"}, Grant.NOBODY),
    ],
)
def test_whom_a_statement_names(principal: Principal, named: Any, grant: Grant) -> None:
    [statement] = parse_policy(document(Principal=named))
    assert principal.named_by(statement) == grant


@pytest.mark.parametrize(
    ("spared", "principal", "is_denied"),
    [
        ([USER, f"arn:aws:iam::{ACCOUNT}:root"], Principal(USER), False),
        ([USER], Principal(USER), True),
        ([SESSION, ROLE, ACCOUNT], session(), False),
        ([ROLE, ACCOUNT], session(), True),
        ([SESSION, ROLE, ACCOUNT], session(boundary=everything), True),
    ],
)
def test_a_denial_for_all_but_some(spared: list[str], principal: Principal, is_denied: bool) -> None:
    policy = parse_policy(document("Deny", NotPrincipal={"AWS": spared}))
    allowed = Principal(principal.arn, (everything,), principal.boundary, role_arn=principal.role_arn)
    verdict = allowed.judge(Need("s3:GetObject", OBJECT), {}, policy)
    assert (verdict.decision is Decision.EXPLICITLY_DENIED) == is_denied


#: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html
SINGLE_ACCOUNT = [
    # who, whom the resource's policy names, and whether that is enough without and within the limits of others
    (Principal(USER), USER, True),
    (Principal(USER, boundary=nothing), USER, True),
    (session(), ROLE, True),
    (session(boundary=nothing), ROLE, False),
    (session(session_policies=(nothing,)), ROLE, False),
    (session(boundary=everything, session_policies=(everything,)), ROLE, True),
    (session(boundary=nothing), SESSION, True),
    (session(session_policies=(nothing,)), SESSION, True),
    (session(), ACCOUNT, False),
    (session(policies=(everything,)), ACCOUNT, True),
    (session(policies=(everything,), boundary=nothing), ACCOUNT, False),
]


@pytest.mark.parametrize(("principal", "named", "is_allowed"), SINGLE_ACCOUNT)
def test_a_resources_policy_within_one_account(principal: Principal, named: str, is_allowed: bool) -> None:
    verdict = principal.judge(Need("s3:GetObject", OBJECT), {}, parse_policy(document(Principal={"AWS": named})))
    assert (verdict.decision is Decision.ALLOWED) == is_allowed


def test_where_the_resource_decides_an_identitys_policy_is_not_enough() -> None:
    need = Need("kms:Decrypt", f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k")
    for named, is_allowed in ((ACCOUNT, True), ("arn:aws:iam::210987654321:root", False)):
        policy = parse_policy(document(Principal={"AWS": named}, Action="kms:*", Resource="*"))
        verdict = Principal(USER, (everything,)).judge(need, {}, policy, is_resource_decisive=True)
        assert (verdict.decision is Decision.ALLOWED) == is_allowed
    assert ADMINISTRATOR.judge(need, {}, nothing, is_resource_decisive=True).decision is Decision.NOT_ALLOWED


# Through the gateway


def read(local_aws: Any, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(local_aws.settings.url + path) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture
def photos(local_aws: Any) -> Any:
    """The administrator's Amazon S3, with an object in it."""
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="photos")
    s3.put_object(Bucket="photos", Key="a.jpg", Body=b"photo")
    return s3


def test_a_buckets_policy_lets_in_whom_it_names(local_aws: Any, photos: Any) -> None:
    role = local_aws.create_role("reader", local_aws.allow("logs:*"))
    s3 = local_aws.client("s3", local_aws.assume(role))
    local_aws.assert_denied(s3.get_object, Bucket="photos", Key="a.jpg")
    photos.put_bucket_policy(Bucket="photos", Policy=document(Principal={"AWS": role}))
    assert s3.get_object(Bucket="photos", Key="a.jpg")["Body"].read() == b"photo"
    local_aws.assert_denied(s3.delete_object, Bucket="photos", Key="a.jpg")


def test_a_buckets_denial_stops_the_administrator_too_who_can_lift_it(local_aws: Any, photos: Any) -> None:
    denial = document("Deny", Principal="*", Action="s3:*", Resource=["arn:aws:s3:::photos", "arn:aws:s3:::photos/*"])
    photos.put_bucket_policy(Bucket="photos", Policy=denial)
    message = local_aws.assert_denied(photos.get_object, Bucket="photos", Key="a.jpg")
    assert message.endswith("with an explicit deny in a resource-based policy")
    photos.delete_bucket_policy(Bucket="photos")
    assert photos.get_object(Bucket="photos", Key="a.jpg")["Body"].read() == b"photo"


def test_a_bucket_that_asks_for_tls_takes_what_would_come_over_it(local_aws: Any, photos: Any) -> None:
    condition = {"Bool": {"aws:SecureTransport": "false"}}
    photos.put_bucket_policy(Bucket="photos", Policy=document("Deny", Principal="*", Condition=condition))
    assert photos.get_object(Bucket="photos", Key="a.jpg")["Body"].read() == b"photo"


def test_anybody_may_read_what_a_buckets_policy_opens(local_aws: Any, photos: Any) -> None:
    assert read(local_aws, "/photos/a.jpg")[0] == 403
    photos.put_bucket_policy(Bucket="photos", Policy=document(Principal="*"))
    assert read(local_aws, "/photos/a.jpg") == (200, b"photo")
    assert b"<Message>Access Denied" in read(local_aws, "/photos")[1]
    photos.put_public_access_block(
        Bucket="photos", PublicAccessBlockConfiguration={"RestrictPublicBuckets": True, "BlockPublicPolicy": True}
    )
    assert read(local_aws, "/photos/a.jpg")[0] == 403


def test_only_who_may_list_learns_that_an_object_is_missing(local_aws: Any, photos: Any) -> None:
    role = local_aws.create_role("reader", local_aws.allow("s3:GetObject"))
    s3 = local_aws.client("s3", local_aws.assume(role))
    message = local_aws.assert_denied(s3.get_object, Bucket="photos", Key="missing")
    assert 's3:ListBucket on resource: "arn:aws:s3:::photos"' in message
    for error, operation in (("403", s3.head_object), ("404", photos.head_object)):
        with pytest.raises(ClientError) as missing:
            operation(Bucket="photos", Key="missing")
        assert missing.value.response["Error"]["Code"] == error
    with pytest.raises(ClientError, match="NoSuchKey"):
        photos.get_object(Bucket="photos", Key="missing")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3.get_object(Bucket="no-such-bucket", Key="missing")


def test_a_key_is_closed_to_whom_its_policy_does_not_know(local_aws: Any) -> None:
    kms = local_aws.client("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    role = local_aws.create_role("reader", local_aws.allow("kms:*"))
    encrypt = local_aws.client("kms", local_aws.assume(role)).encrypt
    assert encrypt(KeyId=key, Plaintext=b"1")["KeyId"] == key
    owner = {"Effect": "Allow", "Principal": {"AWS": USER}, "Action": "kms:*", "Resource": "*"}
    root = {**owner, "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:PutKeyPolicy"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [owner, root]})
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy)
    message = local_aws.assert_denied(encrypt, KeyId=key, Plaintext=b"1")
    assert message.endswith("because no resource-based policy allows the kms:Encrypt action")


def test_a_function_a_queue_and_a_topic_let_in_whom_their_policies_name(local_aws: Any) -> None:
    role = local_aws.create_role("caller", local_aws.allow("s3:GetObject"))
    session = local_aws.assume(role)
    local_aws.create_function("def handler(event, context): return 1")
    invoke = local_aws.client("lambda", session).invoke
    local_aws.assert_denied(invoke, FunctionName="function")
    local_aws.client("lambda").add_permission(
        FunctionName="function", StatementId="caller", Action="lambda:InvokeFunction", Principal=role
    )
    assert invoke(FunctionName="function")["Payload"].read() == b"1"

    queue = local_aws.client("sqs").create_queue(QueueName="queue")["QueueUrl"]
    send = local_aws.client("sqs", session).send_message
    local_aws.assert_denied(send, QueueUrl=queue, MessageBody="1")
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:queue"
    policy = document(Principal={"AWS": role}, Action="sqs:SendMessage", Resource=arn)
    local_aws.client("sqs").set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    assert send(QueueUrl=queue, MessageBody="1")["MessageId"]

    topic = local_aws.client("sns").create_topic(Name="topic")["TopicArn"]
    publish = local_aws.client("sns", session).publish
    local_aws.assert_denied(publish, TopicArn=topic, Message="1")
    policy = document(Principal={"AWS": role}, Action="sns:Publish", Resource=topic)
    local_aws.client("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    assert publish(TopicArn=topic, Message="1")["MessageId"]
