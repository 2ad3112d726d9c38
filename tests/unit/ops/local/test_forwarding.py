from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def post(url: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_nobody_is_allowed_one_call_and_answered_another(local_aws: Any) -> None:
    role = local_aws.create_role("reader", local_aws.allow(["s3:*", "iam:ListUsers", "sagemaker:ListModels"]))
    keys = local_aws.assume(role)
    credentials = Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
    url = local_aws.settings.url
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    create = b"Action=CreateUser&Version=2010-05-08&UserName=evil"
    listing = b"Action=ListUsers&Version=2010-05-08"

    def signed(path: str, service: str, body: bytes, **headers: str) -> dict[str, str]:
        request = AWSRequest("POST", url + path, headers=headers, data=body)
        (S3SigV4Auth if service == "s3" else SigV4Auth)(credentials, service, "us-east-1").add_auth(request)
        return dict(request.headers.items())

    def told_twice(headers: dict[str, str]) -> dict[str, str]:
        algorithm, _, rest = headers["Authorization"].partition(" ")
        return {**headers, "Authorization": f"{algorithm} X=x/20260101/us-east-1/iam/aws4_request, {rest}"}

    post(f"{url}/photos", create, **told_twice(signed("/photos", "s3", create, **form)))
    for path, service, body, headers in (
        ("/?Action=ListUsers", "iam", create, form),
        ("/?Action=ListUsers&" + create.decode(), "iam", listing, form),
        ("/", "iam", listing + b"&" + create, form),
        ("/?" + listing.decode(), "iam", create, {"Content-Type": "text/plain"}),
        ("/", "iam", listing, {**form, "X-Amz-Target": "IAM.CreateUser"}),
    ):
        post(url + path, body, **signed(path, service, body, **headers))
    presigned = AWSRequest("POST", f"{url}/?{create.decode()}", data=b"")
    S3SigV4QueryAuth(credentials, "s3", "us-east-1").add_auth(presigned)
    forged = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0"
    post(presigned.url, b"", Authorization=forged, **form)
    assert local_aws.client("iam").list_users()["Users"] == []

    local_aws.client("sagemaker").create_model(
        ModelName="mine", ExecutionRoleArn=role, PrimaryContainer={"Image": "image"}
    )
    listing_models = {"X-Amz-Target": "SageMaker.ListModels"}
    for path, body, headers in (
        ("/?Action=DeleteModel", b'{"ModelName": "mine"}', {}),
        ("/", b'{"ModelName": "mine"}', {"Action": "DeleteModel"}),
        ("/", b'{"ModelName": "mine", "x": "&Action=DeleteModel&"}', {}),
        ("/", b'{"ModelName": "mine"}', {**form, "Action": "DeleteModel"}),
    ):
        post(url + path, body, **signed(path, "sagemaker", body, **listing_models, **headers))
    assert [one["ModelName"] for one in local_aws.client("sagemaker").list_models()["Models"]] == ["mine"]
