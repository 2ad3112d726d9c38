"""Quotas: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest

ECHO = "def handler(event, context): return event"
SIZE = "def handler(event, context): return len(event)"
MAX_REQUEST = 6_291_456
MAX_RESPONSE = 6_291_556
MAX_EVENT = 1_048_576


def text(size: int) -> bytes:
    """A JSON string of so many bytes."""
    return b'"%s"' % (b"x" * (size - 2))


def test_the_largest_event_arrives_whole(local_aws: Any, function: Any) -> None:
    local_aws.create_function(SIZE, Timeout=60)
    assert function.answer(Payload=text(MAX_REQUEST))["Payload"] == str(MAX_REQUEST - 2).encode()


def test_a_larger_event_is_refused(local_aws: Any, function: Any) -> None:
    local_aws.create_function(SIZE)
    response = function.refused(function.answer, Payload=text(MAX_REQUEST + 1))
    assert response["Error"] == {
        "Code": "RequestEntityTooLargeException",
        "Message": "Request must be smaller than 6291456 bytes for the InvokeFunction operation",
    }
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert function.environments() == (0, 0)


def test_the_largest_answer_arrives_whole(local_aws: Any, function: Any) -> None:
    local_aws.create_function("def handler(event, context): return 'x' * event", Timeout=60)
    assert len(function.answer(MAX_RESPONSE - 2)["Payload"]) == MAX_RESPONSE


def test_a_larger_answer_is_a_function_error(local_aws: Any, function: Any) -> None:
    local_aws.create_function("def handler(event, context): return 'x' * event", Timeout=60)
    assert function.fail(MAX_RESPONSE - 1) == {
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }


def test_an_asynchronous_event_may_have_a_mebibyte(local_aws: Any, function: Any) -> None:
    local_aws.create_function(SIZE)
    assert function.answer(Payload=text(MAX_EVENT), InvocationType="Event")["StatusCode"] == 202
    response = function.refused(function.answer, Payload=text(MAX_EVENT + 1), InvocationType="Event")
    assert response["Error"] == {
        "Code": "RequestEntityTooLargeException",
        "Message": "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)",
    }


def test_events_and_answers_of_any_kind_arrive_whole(local_aws: Any, function: Any) -> None:
    local_aws.create_function(ECHO, Timeout=60)
    events: list[Any] = [None, 0, "", [], "ünï\n\0", {"a": [{"b": 1.5}]}, "x" * 5_000_000]
    for event in events:
        assert function.invoke(event) == event


@pytest.mark.parametrize("stored", [False, True])
def test_a_package_that_is_no_zip_is_refused(local_aws: Any, function: Any, stored: bool) -> None:
    local_aws.client("s3").create_bucket(Bucket="code")
    local_aws.client("s3").put_object(Bucket="code", Key="function.zip", Body=b"not a zip")
    code = {"S3Bucket": "code", "S3Key": "function.zip"} if stored else {"ZipFile": b"not a zip"}
    local_aws.create_function(ECHO)
    assert function.refused(function.api.update_function_code, FunctionName="function", **code)["Error"] == {
        "Code": "InvalidParameterValueException",
        "Message": "Could not unzip uploaded file. Please check your file, then try to upload again.",
    }
    assert function.invoke(1) == 1


def test_a_package_that_is_too_large_unpacked_is_refused(local_aws: Any, function: Any) -> None:
    local_aws.create_function(ECHO)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("module.py", ECHO)
        archive.filelist[0].file_size = 262_144_001  # as its directory says
    bomb = packed.getvalue()
    error = function.refused(function.api.update_function_code, FunctionName="function", ZipFile=bomb)["Error"]
    assert error["Message"] == "Unzipped size must be smaller than 262144000 bytes"


def test_code_can_come_from_s3(local_aws: Any, function: Any) -> None:
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="code")
    s3.put_object(Bucket="code", Key="function.zip", Body=local_aws.zip_of(ECHO))
    local_aws.create_function("def handler(event, context): return 'old'")
    function.api.update_function_code(FunctionName="function", S3Bucket="code", S3Key="function.zip")
    assert function.invoke(1) == 1
    missing = function.refused(
        function.api.update_function_code, FunctionName="function", S3Bucket="code", S3Key="nothing.zip"
    )
    assert "S3 Error Code: NoSuchKey" in missing["Error"]["Message"]
