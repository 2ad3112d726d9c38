"""Gets the photo of a request, and tells its type from its first bytes."""

from __future__ import annotations

import re
from functools import cache
from http import HTTPStatus
from typing import Any

from whippet_lambda.config import Config
from whippet_lambda.deadline import Deadline, too_slow
from whippet_lambda.event import Request
from whippet_lambda.problem import Problem, too_large

#: Seconds that S3 has to answer; a photo is small and S3 is near.
S3_SECONDS = 5

#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
S3_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.+)", re.DOTALL)

#: Bytes of UTF-8. https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
MAX_KEY_BYTES = 1024

SURROGATE = re.compile("[\ud800-\udfff]")


def read(request: Request, config: Config, deadline: Deadline) -> bytes:
    """The photo's bytes.

    Raises:
        Problem: 400 nothing was sent or the address is wrong, 403 not allowed, 413 too large, 502 or 504 when the place
            it lies at does not answer.
    """
    match request:
        case Request(source="s3", value=str(uri)):
            photo = _read_s3(uri, config.max_photo_bytes, deadline)
        case Request(source="url", value=str(url)):
            from whippet_lambda import fetch  # at the first use, not at init: most functions never fetch

            photo = fetch.read(url, config.allowed_url_hosts, config.max_photo_bytes, deadline)
        case Request(value=bytes(sent)):
            photo = sent
        case _:
            raise TypeError(f"not a request: {request!r}")
    if not photo:
        raise Problem(HTTPStatus.BAD_REQUEST, "The photo has no bytes.")
    if len(photo) > config.max_photo_bytes:
        raise too_large(config.max_photo_bytes)
    return photo


def content_type(photo: bytes) -> str:
    """The media type that the first bytes tell.

    Raises:
        Problem: 415 unless it is JPEG, PNG or WebP.
    """
    if photo.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if photo.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if photo[:4] == b"RIFF" and photo[8:12] == b"WEBP":
        return "image/webp"
    raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "This is not a JPEG, PNG or WebP picture: send one of these.")


@cache
def _s3() -> Any:
    # Made at the first use, not at init: most functions never read from S3, and this client doubles the cold start.
    from botocore.config import Config as ClientConfig
    from botocore.session import get_session

    config = ClientConfig(
        connect_timeout=2, read_timeout=S3_SECONDS, retries={"mode": "standard", "total_max_attempts": 2}
    )
    return get_session().create_client("s3", config=config)


def _split(uri: str) -> tuple[str, str]:
    found = S3_URI.fullmatch(uri)
    # JSON can spell half a surrogate pair, which UTF-8 cannot.
    if found is None or not len(found[2].encode("utf-8", "replace")) <= MAX_KEY_BYTES or SURROGATE.search(uri):
        raise Problem(HTTPStatus.BAD_REQUEST, "An S3 address has the form s3://bucket/key.")
    return found[1], found[2]


def _read_s3(uri: str, limit: int, deadline: Deadline) -> bytes:
    from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

    bucket, key = _split(uri)
    deadline.remaining("S3")
    try:
        answer = _s3().get_object(Bucket=bucket, Key=key)
        if answer["ContentLength"] > limit:
            answer["Body"].close()
            raise too_large(limit)
        body: bytes = answer["Body"].read()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in {"AccessDenied", "403", "NoSuchKey", "NoSuchBucket", "404", "InvalidObjectState"}:
            # One answer for all of these, as S3 itself gives it to those who may not list: it tells nobody what exists.
            detail = "The function may not read this object, or it does not exist: see lambda_photo_read_arns."
            raise Problem(HTTPStatus.FORBIDDEN, detail, cause=f"S3: {code}") from None
        raise Problem(
            HTTPStatus.BAD_GATEWAY, "S3 did not give out the photo. Try again.", cause=f"S3: {code}"
        ) from None
    except (ConnectTimeoutError, ReadTimeoutError):
        raise too_slow("S3") from None
    except BotoCoreError as error:
        detail = "S3 did not give out the photo. Try again."
        raise Problem(HTTPStatus.BAD_GATEWAY, detail, cause=f"S3: {type(error).__name__}") from None
    return body
