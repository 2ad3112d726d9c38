from __future__ import annotations

import io
from concurrent.futures import Future, ThreadPoolExecutor, wait
from hashlib import md5
from typing import Any

import pytest
from moto.s3.models import s3_backends

from whippet.local.settings import ACCOUNT


def test_a_bucket_that_asks_for_tls_can_be_used(local_aws: Any) -> None:
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="photos")
    s3.put_bucket_policy(
        Bucket="photos",
        Policy='{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*",'
        ' "Resource": ["arn:aws:s3:::photos", "arn:aws:s3:::photos/*"],'
        ' "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}',
    )
    s3.put_object(Bucket="photos", Key="a", Body=b"1")
    assert s3.get_object(Bucket="photos", Key="a")["Body"].read() == b"1"


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({}, "all_storage_classes_128K"),
        ({"TransitionDefaultMinimumObjectSize": "varies_by_storage_class"}, "varies_by_storage_class"),
    ],
    ids=["default", "asked for"],
)
def test_the_rules_of_a_bucket_are_read_as_they_were_written(local_aws: Any, asked: dict[str, str], size: str) -> None:
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="photos")
    rules = [
        {
            "ID": "noncurrent",
            "Status": "Enabled",
            "Filter": {"And": {"Prefix": "runs/", "ObjectSizeGreaterThan": 1024, "Tags": [{"Key": "a", "Value": "b"}]}},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 30, "NewerNoncurrentVersions": 3},
        }
    ]
    s3.put_bucket_lifecycle_configuration(Bucket="photos", LifecycleConfiguration={"Rules": rules}, **asked)
    told = s3.get_bucket_lifecycle_configuration(Bucket="photos")
    assert told["Rules"] == rules
    assert told["TransitionDefaultMinimumObjectSize"] == size


def test_an_object_is_read_whole_while_its_etag_is_computed(local_aws: Any) -> None:
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="photos")
    s3.put_object(Bucket="photos", Key="a", Body=b"photo")
    [key] = s3_backends[ACCOUNT]["aws"].buckets["photos"].keys.values()

    class Buffer:
        """What somebody else reads as soon as it is at its end."""

        def __init__(self) -> None:
            self.file = io.BytesIO(b"photo")
            self.pool = ThreadPoolExecutor(1)
            self.read_by_another: Future[bytes] | None = None

        def seek(self, position: int) -> int:
            return self.file.seek(position)

        def read(self, size: int = -1) -> bytes:
            if self.read_by_another is None:
                self.read_by_another = self.pool.submit(lambda: key.value)
                wait([self.read_by_another], 0.2)  # it must not get there now
            return self.file.read(size)

    key._etag, key._value_buffer = None, Buffer()
    assert key.etag == f'"{md5(b"photo").hexdigest()}"'
    assert key._value_buffer.read_by_another.result(10) == b"photo"
