from __future__ import annotations

from typing import Any

import pytest


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
