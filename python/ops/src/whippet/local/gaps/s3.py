"""What moto does otherwise than Amazon S3."""

from __future__ import annotations

from typing import Any

from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket, FakeKey, s3_backends
from werkzeug.wrappers import Response

from whippet.local.calls import Call, answer
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT

#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-transition-general-considerations.html
DEFAULT_TRANSITION_SIZE = "all_storage_classes_128K"


def put_lifecycle(call: Call, forward: Forward) -> Response:
    """PutBucketLifecycleConfiguration drops the newer versions to keep and the sizes, and Get waits for them forever.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html
    """
    response = forward(call)
    if response.status_code == 200:
        size = call.params.get("TransitionDefaultMinimumObjectSize", DEFAULT_TRANSITION_SIZE)
        rules = call.params["LifecycleConfiguration"].get("Rules", [])
        _bucket(call).lifecycle = {"Rules": rules, "TransitionDefaultMinimumObjectSize": size}
        response.headers["x-amz-transition-default-minimum-object-size"] = size
    return response


def get_lifecycle(call: Call, forward: Forward) -> Response:
    """GetBucketLifecycleConfiguration tells what was put.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLifecycleConfiguration.html
    """
    response = forward(call)
    return answer(call, _bucket(call).lifecycle) if response.status_code == 200 else response


def _bucket(call: Call) -> Any:
    return s3_backends[ACCOUNT]["aws"].buckets[call.params["Bucket"]]


def _bucket_policy_is_checked(self: Any, action: str, resource: str) -> PermissionResult:
    """The gateway has asked the bucket's policy: see `access`.

    Moto takes a bucket policy's unmet condition for a denial: one that asks for TLS would lock everybody out.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-bucket-policies.html#example-bucket-policies-HTTP-HTTPS
    """
    return PermissionResult.PERMITTED


setattr(FakeBucket, "get_permission", _bucket_policy_is_checked)  # noqa: B010

_etag: Any = FakeKey.etag


def _etag_of_the_whole(key: FakeKey) -> str:
    """The ETag, computed while nobody else reads the object.

    All who read share one file and its position. Moto locks it everywhere but here.
    """
    with key.lock:
        return str(_etag.fget(key))


setattr(FakeKey, "etag", property(_etag_of_the_whole))  # noqa: B010


HANDLERS: Handlers = {
    ("s3", "GetBucketLifecycleConfiguration"): get_lifecycle,
    ("s3", "PutBucketLifecycleConfiguration"): put_lifecycle,
}
