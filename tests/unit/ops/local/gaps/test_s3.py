from __future__ import annotations

from typing import Any


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
