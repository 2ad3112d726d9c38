from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from support.lambda_function import JPEG
from whippet_lambda import photo as photos
from whippet_lambda.config import Config
from whippet_lambda.deadline import Deadline
from whippet_lambda.event import Request
from whippet_lambda.problem import Problem


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        photos._s3.cache_clear()
        made = boto3.resource("s3").create_bucket(Bucket="photos")
        made.put_object(Key="dogs/1.jpg", Body=JPEG)
        made.put_object(Key="dogs/empty.jpg", Body=b"")
        yield made
    photos._s3.cache_clear()


def read(uri: str, limit: int = 1000, seconds: float = 30) -> bytes:
    return photos.read(
        Request("s3", uri, None), Config("breeds", max_photo_bytes=limit), Deadline(time.monotonic() + seconds)
    )


def test_a_photo_is_read_from_s3(bucket: Any) -> None:
    assert read("s3://photos/dogs/1.jpg") == JPEG


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        ("s3://photos/dogs/none.jpg", 403),
        ("s3://no-such-bucket/dogs/1.jpg", 403),
        ("s3://photos", 400),
        ("s3://photos/", 400),
        ("s3://../etc/passwd", 400),
        ("S3://photos/dogs/1.jpg", 400),
        ("https://photos.s3.amazonaws.com/dogs/1.jpg", 400),
        ("s3://photos/dogs/empty.jpg", 400),
    ],
)
def test_an_object_that_cannot_be_read_is_refused(bucket: Any, uri: str, status: int) -> None:
    with pytest.raises(Problem) as raised:
        read(uri)
    assert raised.value.status == status


def test_an_object_over_the_limit_is_refused_before_it_is_read(bucket: Any) -> None:
    with pytest.raises(Problem) as raised:
        read("s3://photos/dogs/1.jpg", limit=len(JPEG) - 1)
    assert raised.value.status == 413


def test_without_time_left_s3_is_not_asked(bucket: Any) -> None:
    with pytest.raises(Problem) as raised:
        read("s3://photos/dogs/1.jpg", seconds=-1)
    assert raised.value.status == 504


@pytest.mark.parametrize("photo", [b"", b"\xff\xd8", b"GIF89a", b"RIFF\x00\x00\x00\x00WAVE", b"<svg/>", b"%PDF-1.7"])
def test_what_is_no_photo_of_a_served_type_is_a_415(photo: bytes) -> None:
    with pytest.raises(Problem) as raised:
        photos.content_type(photo)
    assert raised.value.status == 415
