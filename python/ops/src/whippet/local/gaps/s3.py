"""What moto does otherwise than Amazon S3."""

from __future__ import annotations

from typing import Any

from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket

from whippet.local.services import Handlers


def _no_bucket_policy_check(self: Any, action: str, resource: str) -> PermissionResult:
    """Moto takes a bucket policy's unmet condition for a denial: one that asks for TLS would lock everybody out.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-bucket-policies.html#example-bucket-policies-HTTP-HTTPS
    """
    return PermissionResult.NEUTRAL


setattr(FakeBucket, "get_permission", _no_bucket_policy_check)  # noqa: B010


HANDLERS: Handlers = {}
