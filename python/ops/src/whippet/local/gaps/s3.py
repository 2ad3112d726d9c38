"""What moto does otherwise than Amazon S3."""

from __future__ import annotations

from typing import Any

from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket

from whippet.local.services import Handlers


def _bucket_policy_is_checked(self: Any, action: str, resource: str) -> PermissionResult:
    """The gateway has asked the bucket's policy: see `access`.

    Moto takes a bucket policy's unmet condition for a denial: one that asks for TLS would lock everybody out.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-bucket-policies.html#example-bucket-policies-HTTP-HTTPS
    """
    return PermissionResult.PERMITTED


setattr(FakeBucket, "get_permission", _bucket_policy_is_checked)  # noqa: B010


HANDLERS: Handlers = {}
