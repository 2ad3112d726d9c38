"""Reads what a caller of /invocations asks for: which photo, and how many predictions."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from http import HTTPStatus

from whippet_serving.photo import MEDIA_TYPES
from whippet_serving.problem import RequestError

DEFAULT_TOP_K = 5


@dataclass(frozen=True)
class Invocation:
    """A photo, still encoded, and how many predictions its sender wants."""

    photo: bytes
    top_k: int


def read_invocation(body: bytes, content_type: str, query_top_k: str | None, custom_attributes: str) -> Invocation:
    """Read a request whose body is the photo, or JSON ``{"image": "<base64>", "top_k": 3}``.

    A header that names one served image type above a photo of another is no error: the photo's first bytes decide.

    Args:
        body: The request's body.
        content_type: image/jpeg, image/png, image/webp or application/json, with or without parameters.
        query_top_k: ``top_k`` of the query; JSON's field wins over it, and it wins over the header.
        custom_attributes: The header X-Amzn-SageMaker-Custom-Attributes, such as ``top_k=3``; others' are left alone.

    Raises:
        RequestError: 415 for another content type, 400 for everything else that cannot be read.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json" and media_type not in MEDIA_TYPES:
        raise RequestError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Send the body as one of the content types {', '.join(MEDIA_TYPES)} and application/json.",
        )
    top_k: object = query_top_k if query_top_k is not None else _top_k_attribute(custom_attributes)
    photo = body
    if body and media_type == "application/json":
        photo, top_k = _read_json(body, top_k)
    if not photo:
        raise RequestError(HTTPStatus.BAD_REQUEST, "The body is empty; send a photo.")
    return Invocation(photo, _read_top_k(top_k))


def _top_k_attribute(custom_attributes: str) -> str | None:
    for attribute in custom_attributes.replace(";", ",").split(","):
        name, _, value = attribute.partition("=")
        if name.strip() == "top_k":
            return value.strip()
    return None


def _read_json(body: bytes, top_k: object) -> tuple[bytes, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError(HTTPStatus.BAD_REQUEST, "The body is not valid JSON.") from None
    if not isinstance(document, dict) or not isinstance(document.get("image"), str):
        raise RequestError(HTTPStatus.BAD_REQUEST, 'Send {"image": "<base64 of the photo>"}.')
    try:
        photo = base64.b64decode(document["image"], validate=True)
    except ValueError:
        raise RequestError(HTTPStatus.BAD_REQUEST, 'The field "image" is not valid base64.') from None
    return photo, document.get("top_k", top_k)


def _read_top_k(value: object) -> int:
    if value is None:
        return DEFAULT_TOP_K
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value.lstrip("0")[:9] or 0)  # more digits than classes change nothing
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RequestError(HTTPStatus.BAD_REQUEST, "top_k must be a whole number from 1.")
    return value
