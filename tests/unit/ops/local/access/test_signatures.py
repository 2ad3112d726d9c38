from __future__ import annotations

import hmac
import io
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.core.request import Request

from whippet.local.access import sessions
from whippet.local.access.refusals import Refusals
from whippet.local.access.signatures import Secret, check_form, verify
from whippet.local.calls import AwsError, read_signature

TEST = Credentials("test", "test")
ADVICE = "AWS_ACCESS_KEY_ID=test with AWS_SECRET_ACCESS_KEY=test"


def client(local_aws: Any, service: str, key: str = "test", secret: str = "test", token: str | None = None) -> Any:
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=local_aws.settings.url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}),
    )


def send(url: str, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    """The status and the body of an answer."""
    known = {"Content-Type": "application/octet-stream", **(headers or {})}
    request = urllib.request.Request(url, body, known if body is not None else headers or {}, method=method)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def signed(url: str, service: str, body: bytes = b"", **headers: str) -> dict[str, str]:
    """The headers of a signed POST."""
    request = AWSRequest("POST", url, headers={"Content-Type": "application/x-amz-json-1.1", **headers}, data=body)
    SigV4Auth(TEST, service, "us-east-1").add_auth(request)
    return dict(request.headers.items())


# What each family of services answers


@pytest.mark.parametrize(
    ("service", "operation", "unknown", "wrong", "status"),
    [
        ("sagemaker", "list_models", "UnrecognizedClientException", "InvalidSignatureException", 400),
        ("lambda", "list_functions", "UnrecognizedClientException", "InvalidSignatureException", 403),
        ("cloudwatch", "describe_alarms", "UnrecognizedClientException", "InvalidSignatureException", 400),
        ("iam", "list_roles", "InvalidClientTokenId", "SignatureDoesNotMatch", 403),
        ("s3", "list_buckets", "InvalidAccessKeyId", "SignatureDoesNotMatch", 403),
        ("ec2", "describe_instances", "AuthFailure", "AuthFailure", 401),
    ],
)
def test_credentials_that_are_not_local_awss_are_refused_with_advice_that_names_no_secret(
    local_aws: Any, service: str, operation: str, unknown: str, wrong: str, status: int
) -> None:
    for key, code in (("AKIAIOSFODNN7EXAMPLE", unknown), ("test", wrong)):
        with pytest.raises(ClientError) as refused:
            getattr(client(local_aws, service, key, "wJalrXUtnFEMI"), operation)()
        error = refused.value.response["Error"]
        assert error["Code"] == code
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
        assert ADVICE in error["Message"]
        assert "wJalr" not in str(refused.value.response)


@pytest.mark.parametrize(
    ("path", "headers", "code", "status"),
    [
        (
            "/endpoints/e/invocations",
            {"Content-Type": "image/jpeg"},
            b'"__type": "MissingAuthenticationTokenException"',
            403,
        ),
        ("/2015-03-31/functions/f/invocations", {}, b'"__type": "MissingAuthenticationTokenException"', 403),
        ("/", {"X-Amz-Target": "SageMaker.ListModels"}, b'"__type": "MissingAuthenticationTokenException"', 400),
        (
            "/",
            {"Content-Type": "application/x-www-form-urlencoded"},
            b"<Code>MissingAuthenticationToken</Code><Message>Request is missing Authentication Token",
            403,
        ),
        ("/bucket/key", {"Content-Type": "text/plain"}, b"<Code>AccessDenied</Code><Message>Access Denied", 403),
    ],
)
def test_what_is_not_signed_is_refused_in_the_protocol_of_its_service(
    local_aws: Any, path: str, headers: dict[str, str], code: bytes, status: int
) -> None:
    body = b"Action=ListRoles&Version=2010-05-08" if "form" in headers.get("Content-Type", "") else b"{}"
    answered, text = send(local_aws.settings.url + path, "POST", body, headers)
    assert code in text
    assert answered == status


@pytest.mark.parametrize(
    ("authorization", "words"),
    [
        ("AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sagemaker/aws4_request", "requires 'Signature'"),
        ("AWS4-HMAC-SHA256 SignedHeaders=host, Signature=0", "requires 'Credential'"),
        ("AWS4-ECDSA-P256-SHA256 Credential=test/20260101/sagemaker/aws4_request", "Unsupported AWS 'algorithm'"),
        ("Bearer topsecret", "Unsupported AWS 'algorithm': 'Bearer'"),
    ],
)
def test_what_is_no_whole_signature_is_incomplete(local_aws: Any, authorization: str, words: str) -> None:
    headers = {"Authorization": authorization, "X-Amz-Target": "SageMaker.ListModels"}
    status, text = send(local_aws.settings.url, "POST", b"{}", headers)
    assert status == 400
    assert b"IncompleteSignature" in text
    assert words in text.decode()
    assert "topsecret" not in str(text)


# What a signature covers


def invoke(local_aws: Any, change: Callable[[dict[str, str]], bytes]) -> str:
    """Calls SageMaker with headers that were changed after they were signed; the error."""
    url = local_aws.settings.url + "/"
    headers = signed(url, "sagemaker", b"{}", **{"X-Amz-Target": "SageMaker.ListModels"})
    body = change(headers)
    status, text = send(url, "POST", body, headers)
    return "" if status == 200 else str(json.loads(text)["__type"])


def test_the_body_the_signed_headers_and_the_query_are_covered(local_aws: Any) -> None:
    def unchanged(headers: dict[str, str]) -> bytes:
        return b"{}"

    def another_body(headers: dict[str, str]) -> bytes:
        return b'{"MaxResults": 1}'

    def another_operation(headers: dict[str, str]) -> bytes:
        headers["X-Amz-Target"] = "SageMaker.ListEndpoints"
        return b"{}"

    assert invoke(local_aws, unchanged) == ""
    assert invoke(local_aws, another_body) == "InvalidSignatureException"
    assert invoke(local_aws, another_operation) == "InvalidSignatureException"


def test_a_signature_for_one_service_or_day_does_not_do_for_another(local_aws: Any) -> None:
    def another_service(headers: dict[str, str]) -> bytes:
        headers["Authorization"] = headers["Authorization"].replace("/sagemaker/", "/logs/")
        return b"{}"

    def another_day(headers: dict[str, str]) -> bytes:
        day = headers["X-Amz-Date"][:8]
        headers["Authorization"] = headers["Authorization"].replace(f"/{day}/", "/20200101/")
        return b"{}"

    def unsigned_host(headers: dict[str, str]) -> bytes:
        headers["Authorization"] = headers["Authorization"].replace(";host", "")
        return b"{}"

    assert invoke(local_aws, another_service) == "InvalidSignatureException"
    assert invoke(local_aws, another_day) == "InvalidSignatureException"
    assert invoke(local_aws, unsigned_host) == "InvalidSignatureException"


@pytest.mark.parametrize(
    ("service", "region", "words"),
    [
        ("s3", "us-east-1", "Credential should be scoped to correct service: 'sagemaker'."),
        ("sagemaker", "nowhere-1", "Credential should be scoped to a valid region, not 'nowhere-1'."),
    ],
)
def test_a_key_is_of_the_service_that_is_called_and_of_a_region(
    local_aws: Any, service: str, region: str, words: str
) -> None:
    url = f"{local_aws.settings.url}/endpoints/endpoint/invocations"
    request = AWSRequest("POST", url, headers={"Content-Type": "image/jpeg"}, data=b"photo")
    SigV4Auth(TEST, service, region).add_auth(request)
    status, text = send(url, "POST", b"photo", dict(request.headers.items()))
    assert (status, json.loads(text)) == (403, {"__type": "InvalidSignatureException", "message": words})


@pytest.mark.parametrize("part", ["test/{day}/日/s3/aws4_request", "test/{day}/us-east-1/日/aws4_request"])
@pytest.mark.parametrize("signed_headers", ["host", "host;日"])
@pytest.mark.parametrize("date", ["{day}T000000Z", "٢٠٢٦١١٢٣T000000Z"])
def test_letters_that_no_signature_has_are_refused(local_aws: Any, part: str, signed_headers: str, date: str) -> None:
    day = time.strftime("%Y%m%d", time.gmtime())
    query = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": part.format(day=day),
        "X-Amz-Date": date.format(day=day),
        "X-Amz-Expires": "86400",
        "X-Amz-SignedHeaders": signed_headers,
        "X-Amz-Signature": "0" * 64,
    }
    status, _ = send(f"{local_aws.settings.url}/bucket/key?{urllib.parse.urlencode(query)}")
    assert status == 400


@pytest.mark.parametrize("key", ["a b/c+d=e&f?g#h%20.jpg", "ä/日本.jpg", "a//b/../c.jpg", "x" * 200, "~'()*!$,;:@"])
def test_keys_of_all_kinds_can_be_signed(local_aws: Any, key: str) -> None:
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="photos")
    s3.put_object(Bucket="photos", Key=key, Body=b"1", Metadata={"two": "a  b"})
    assert [one["Key"] for one in s3.list_objects_v2(Bucket="photos", Prefix=key)["Contents"]] == [key]
    for version in ("s3v4", "s3"):
        presigning = boto3.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=local_aws.settings.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(signature_version=version),
        )
        url = presigning.generate_presigned_url("get_object", {"Bucket": "photos", "Key": key})
        assert send(url) == (200, b"1"), version


def test_a_function_named_by_its_arn_can_be_called(local_aws: Any) -> None:
    arn = "arn:aws:lambda:us-east-1:123456789012:function:nobody"
    with pytest.raises(ClientError) as missing:
        local_aws.client("lambda").get_function(FunctionName=arn)
    assert missing.value.response["Error"]["Code"] == "ResourceNotFoundException"


# Amazon S3's own ways


def test_presigned_urls_hold_for_one_request_and_until_they_expire(local_aws: Any) -> None:
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="photos")
    s3.put_object(Bucket="photos", Key="a", Body=b"1")
    signer = boto3.client(
        "s3",
        region_name="eu-west-1",
        endpoint_url=local_aws.settings.url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(signature_version="s3v4"),
    )
    get = signer.generate_presigned_url("get_object", {"Bucket": "photos", "Key": "a"}, ExpiresIn=60)
    put = signer.generate_presigned_url("put_object", {"Bucket": "photos", "Key": "b"}, ExpiresIn=60)
    assert send(get) == (200, b"1")
    assert send(put, "PUT", b"2")[0] == 200
    assert s3.get_object(Bucket="photos", Key="b")["Body"].read() == b"2"
    assert b"SignatureDoesNotMatch" in send(get.replace("/a?", "/b?"))[1]
    assert b"SignatureDoesNotMatch" in send(get, "DELETE")[1]
    assert b"SignatureDoesNotMatch" in send(get.replace("X-Amz-Expires=60", "X-Amz-Expires=61"))[1]
    too_long = get.replace("X-Amz-Expires=60", "X-Amz-Expires=604801")
    assert b"AuthorizationQueryParametersError" in send(too_long)[1]
    expired = signer.generate_presigned_url("get_object", {"Bucket": "photos", "Key": "a"}, ExpiresIn=0)
    local_aws.eventually(lambda: b"Request has expired" in send(expired)[1])


def test_a_url_of_the_old_kind_expires_too(local_aws: Any) -> None:
    signer = client(local_aws, "s3")
    url = signer.generate_presigned_url("list_objects_v2", {"Bucket": "photos"}, ExpiresIn=-1)
    assert "AWSAccessKeyId=test" in url
    assert b"<Code>AccessDenied</Code><Message>Request has expired" in send(url)[1]
    assert b"SignatureDoesNotMatch" in send(url.replace("Expires=", "Expires=9"))[1]


def chunked(chunks: list[bytes], seed: str, key: bytes, prefix: str, trailer: str = "") -> bytes:
    """A body in signed chunks: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html."""
    nothing, previous, body = sha256(b"").hexdigest(), seed, b""
    for chunk in [*chunks, b""]:
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{prefix}{previous}\n{nothing}\n{sha256(chunk).hexdigest()}"
        previous = hmac.digest(key, text.encode(), "sha256").hex()
        body += f"{len(chunk):x};chunk-signature={previous}\r\n".encode() + chunk
        body += b"\r\n" if chunk or not trailer else b""
    if trailer:
        hashed = sha256(trailer.encode() + b"\n").hexdigest()
        text = f"AWS4-HMAC-SHA256-TRAILER\n{prefix}{previous}\n{hashed}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        body += f"{trailer}\r\nx-amz-trailer-signature:{signature}\r\n\r\n".encode()
    return body


def upload(local_aws: Any, kind: str, chunks: list[bytes], tamper: Callable[[bytes], bytes] = lambda body: body) -> Any:
    """Puts an object in signed chunks."""
    url = f"{local_aws.settings.url}/photos/chunked"
    trailer = "x-amz-checksum-crc32:AAAAAA==" if kind.endswith("TRAILER") else ""
    headers = {
        "Content-Encoding": "aws-chunked",
        "X-Amz-Content-SHA256": kind,
        "X-Amz-Decoded-Content-Length": str(sum(map(len, chunks))),
    }
    request = AWSRequest("PUT", url, headers=headers)
    signer = S3SigV4Auth(TEST, "s3", "us-east-1")
    signer.payload = lambda request: kind  # type: ignore[method-assign]
    signer.add_auth(request)
    day = request.headers["X-Amz-Date"][:8]
    key = b"AWS4test"
    for part in (day, "us-east-1", "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    seed = request.headers["Authorization"].rpartition("Signature=")[2]
    prefix = f"{request.headers['X-Amz-Date']}\n{day}/us-east-1/s3/aws4_request\n"
    body = tamper(chunked(chunks, seed, key, prefix, trailer))
    return send(url, "PUT", body, dict(request.headers.items()))


@pytest.mark.parametrize("kind", ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"])
def test_signed_chunks_are_verified_one_by_one(local_aws: Any, kind: str) -> None:
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="photos")
    chunks = [b"first" * 2000, b"second"]
    assert upload(local_aws, kind, chunks)[0] == 200
    assert s3.get_object(Bucket="photos", Key="chunked")["Body"].read() == b"".join(chunks)
    tampered = upload(local_aws, kind, chunks, lambda body: body.replace(b"second", b"sekond"))
    assert (tampered[0], b"SignatureDoesNotMatch" in tampered[1]) == (403, True)
    assert b"IncompleteBody" in upload(local_aws, kind, chunks, lambda body: body[:-200])[1]
    assert b"IncompleteBody" in upload(local_aws, kind, chunks, lambda body: b"")[1]


def test_a_trailer_is_signed(local_aws: Any) -> None:
    local_aws.client("s3").create_bucket(Bucket="photos")
    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    answered = upload(local_aws, kind, [b"1"], lambda body: body.replace(b"AAAAAA==", b"BBBBBB=="))
    assert b"SignatureDoesNotMatch" in answered[1]


def test_an_upload_with_a_checksum_behind_it_passes(local_aws: Any) -> None:
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="photos")
    s3.put_object(Bucket="photos", Key="a", Body=io.BytesIO(b"1" * 70_000), ChecksumAlgorithm="CRC32")
    assert s3.head_object(Bucket="photos", Key="a")["ContentLength"] == 70_000


def test_the_declared_hash_must_be_the_bodys(local_aws: Any) -> None:
    url = f"{local_aws.settings.url}/photos/a"
    request = AWSRequest("PUT", url, data=b"1")
    S3SigV4Auth(TEST, "s3", "us-east-1").add_auth(request)
    status, text = send(url, "PUT", b"2", dict(request.headers.items()))
    assert (status, b"XAmzContentSHA256Mismatch" in text) == (400, True)


def test_amazon_s3_wants_its_headers_signed(local_aws: Any) -> None:
    url = f"{local_aws.settings.url}/photos/a"
    request = AWSRequest("PUT", url, data=b"1")
    S3SigV4Auth(TEST, "s3", "us-east-1").add_auth(request)
    headers = {**dict(request.headers.items()), "x-amz-acl": "public-read"}
    status, text = send(url, "PUT", b"1", headers)
    assert (status, b"headers present in the request which were not signed" in text) == (403, True)


def test_uploads_through_forms_are_refused_clearly(local_aws: Any) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    status, text = send(f"{local_aws.settings.url}/photos", "POST", b"--x--", headers)
    assert (status, b"presign put_object instead" in text) == (501, True)


# Sessions


def test_a_session_needs_its_token_and_ends(local_aws: Any) -> None:
    keys = local_aws.assume(local_aws.create_role("reader", local_aws.allow("s3:ListAllMyBuckets")))
    key, secret, token = keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"]
    assert client(local_aws, "s3", key, secret, token).list_buckets()["Buckets"] == []
    with pytest.raises(ClientError, match="The provided token is malformed or otherwise invalid"):
        client(local_aws, "s3", key, secret, token + "x").list_buckets()
    with pytest.raises(ClientError, match="The security token included in the request is invalid"):
        client(local_aws, "sagemaker", key, secret).list_models()
    session = sessions.find(key)
    assert session is not None
    sessions._sessions()[key] = replace(session, expires_at=time.time() - 1)
    for service, operation, code in (
        ("s3", "list_buckets", "ExpiredToken"),
        ("sagemaker", "list_models", "ExpiredTokenException"),
        ("iam", "list_roles", "ExpiredToken"),
        ("ec2", "describe_instances", "RequestExpired"),
    ):
        with pytest.raises(ClientError) as expired:
            getattr(client(local_aws, service, key, secret, token), operation)()
        assert expired.value.response["Error"]["Code"] == code


def test_an_inactive_key_and_one_with_a_token_are_nobodys(local_aws: Any) -> None:
    iam = local_aws.client("iam")
    iam.create_user(UserName="ann")
    made = iam.create_access_key(UserName="ann")["AccessKey"]
    key, secret = made["AccessKeyId"], made["SecretAccessKey"]
    assert client(local_aws, "sts", key, secret).get_caller_identity()["Arn"].endswith(":user/ann")
    with pytest.raises(ClientError, match="security token included in the request is invalid"):
        client(local_aws, "sts", key, secret, "token").get_caller_identity()
    iam.update_access_key(UserName="ann", AccessKeyId=key, Status="Inactive")
    with pytest.raises(ClientError, match="security token included in the request is invalid"):
        client(local_aws, "sts", key, secret).get_caller_identity()


# The clock


def request_at(service: str, now: float) -> Request:
    """A request signed at a time."""
    made = AWSRequest("GET", "http://127.0.0.1/path?x=y")
    signer = (S3SigV4Auth if service == "s3" else SigV4Auth)(TEST, service, "us-east-1")
    made.context["timestamp"] = made.headers["X-Amz-Date"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    if service == "s3":
        made.headers["X-Amz-Content-SHA256"] = sha256(b"").hexdigest()
    signature = signer.signature(signer.string_to_sign(made, signer.canonical_request(made)), made)
    signer._inject_signature_to_request(made, signature)  # `add_auth` would take the time of now
    return Request.from_primitives("GET", made.url, {**dict(made.headers.items()), "Host": "127.0.0.1"})


@pytest.mark.parametrize(
    ("service", "skew", "code"),
    [
        ("sagemaker", 301, "InvalidSignatureException"),
        ("sagemaker", -301, "InvalidSignatureException"),
        ("sagemaker", 299, ""),
        ("sagemaker", -299, ""),
        ("s3", 901, "RequestTimeTooSkewed"),
        ("s3", -901, "RequestTimeTooSkewed"),
        ("s3", 899, ""),
        ("s3", -899, ""),
    ],
)
def test_a_clients_clock_may_be_wrong_by_minutes(service: str, skew: float, code: str) -> None:
    now = 1_800_000_000.0
    request = request_at(service, now + skew)
    signature = read_signature(request)
    assert signature is not None
    refusals = Refusals(service, "rest-xml" if service == "s3" else "json")
    check_form(request, signature, refusals)
    found = ""
    try:
        verify(request, b"", signature, Secret("test"), now, refusals)
    except AwsError as error:
        found = error.code
    assert found == code


@settings(max_examples=40, deadline=None)
@given(
    path=st.text(st.characters(codec="utf-8", exclude_characters="\0#?%"), max_size=20),
    query=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    body=st.binary(max_size=50),
    service=st.sampled_from(["lambda", "s3"]),
)
def test_what_botocore_signs_is_verified_and_nothing_else(
    path: str, query: dict[str, str], body: bytes, service: str
) -> None:
    encoded = urllib.parse.quote(path.replace("\\", ""), safe="/~")
    url = f"http://127.0.0.1:4566/{encoded}"
    if query:
        url += "?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote)
    made = AWSRequest("POST", url, data=body)
    (S3SigV4Auth if service == "s3" else SigV4Auth)(TEST, service, "us-east-1").add_auth(made)
    headers = {**dict(made.headers.items()), "Host": "127.0.0.1:4566"}
    request = Request.from_primitives("POST", "http://127.0.0.1:4566/", headers)
    request.environ["RAW_URI"] = url.removeprefix("http://127.0.0.1:4566")
    request = Request({**request.environ, "QUERY_STRING": url.partition("?")[2]})
    signature = read_signature(request)
    assert signature is not None
    refusals = Refusals(service, "rest-json")
    verify(request, body, signature, Secret("test"), time.time(), refusals)
    for changed, secret in ((body + b"x", "test"), (body, "other")):
        with pytest.raises(AwsError):
            verify(request, changed, signature, Secret(secret), time.time(), refusals)


# Other clients


def environment(local_aws: Any) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(local_aws.settings.home),
        "AWS_ENDPOINT_URL": local_aws.settings.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def test_the_aws_cli_signs_what_is_accepted(local_aws: Any, tmp_path: Path) -> None:
    aws = [sys.executable, "-m", "awscli"]
    photo = tmp_path / "a b.jpg"
    photo.write_bytes(b"1" * 100)
    local_aws.client("s3").create_bucket(Bucket="photos")
    for command in (["s3", "cp", str(photo), "s3://photos/x y/"], ["sts", "get-caller-identity"]):
        done = subprocess.run([*aws, *command], env=environment(local_aws), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert local_aws.client("s3").head_object(Bucket="photos", Key="x y/a b.jpg")["ContentLength"] == 100


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    ("service", "path", "arguments"),
    [
        ("lambda", "/2015-03-31/functions/?FunctionVersion=ALL&MaxItems=5", []),
        ("sts", "/", ["-d", "Action=GetCallerIdentity&Version=2011-06-15"]),
        ("s3", "/photos/a.jpg", ["-T", "-"]),
        ("s3", "/photos?list-type=2&prefix=a", []),
    ],
)
def test_curl_signs_what_is_accepted(local_aws: Any, service: str, path: str, arguments: list[str]) -> None:
    local_aws.client("s3").create_bucket(Bucket="photos")
    if service == "s3":  # curl 7 sends no hash of its own
        arguments = [*arguments, "-H", f"x-amz-content-sha256: {sha256(b'').hexdigest()}"]
    command = ["curl", "-sS", "--fail-with-body", "--aws-sigv4", f"aws:amz:us-east-1:{service}", "--user", "test:test"]
    done = subprocess.run(
        [*command, local_aws.settings.url + path, *arguments], capture_output=True, text=True, input=""
    )
    assert done.returncode == 0, done.stdout + done.stderr
