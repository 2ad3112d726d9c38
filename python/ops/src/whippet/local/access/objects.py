"""What Amazon S3 tells of objects that do not exist."""

from __future__ import annotations

from moto.s3.models import s3_backends
from werkzeug.wrappers import Response

from whippet.local.access.actions import Need
from whippet.local.access.authorisation import authenticate, require
from whippet.local.access.context import RequestContext
from whippet.local.calls import Call
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT


def get_object(call: Call, forward: Forward) -> Response:
    """Only those who may list a bucket learn that an object is missing; others are denied.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html (Permissions)
    """
    response = forward(call)
    bucket = call.labels["Bucket"]
    if response.status_code == 404 and bucket in s3_backends[ACCOUNT]["aws"].buckets:
        arn = f"arn:aws:s3:::{bucket}"
        require(call, authenticate(call), Need("s3:ListBucket", arn), RequestContext(call, arn))
    return response


HANDLERS: Handlers = {("s3", "GetObject"): get_object, ("s3", "HeadObject"): get_object}
