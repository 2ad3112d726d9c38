"""Reads what a caller of /invocations asks for: which photos, and how many predictions for each."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

from whippet_serving.photo import MEDIA_TYPES
from whippet_serving.problem import RequestError

DEFAULT_TOP_K = 5

JSON = "application/json"
JSON_LINES = ("application/jsonlines", "application/x-jsonlines", "application/x-ndjson")
MULTIPART = "multipart/form-data"

MAX_PHOTOS = 256
"""Most photos of one request: the tiniest are refused in next to no time, but each refusal is a line of the answer."""


@dataclass(frozen=True)
class Invocation:
    """A photo, still encoded, and how many predictions its sender wants."""

    photo: bytes
    top_k: int


def media_type(content_type: str) -> str:
    """Return a content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def holds_many(content_type: str) -> bool:
    """Tell whether a request of this content type may hold several photos, and is answered line by line."""
    return media_type(content_type) in (*JSON_LINES, MULTIPART)


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
    type_ = media_type(content_type)
    if type_ != JSON and type_ not in MEDIA_TYPES:
        raise RequestError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Send the body as one of the content types {', '.join((*MEDIA_TYPES, JSON, JSON_LINES[0]))} "
            f"and {MULTIPART}.",
        )
    top_k = _wanted(query_top_k, custom_attributes)
    if body and type_ == JSON:
        return _read_json(body, top_k)
    return _invocation(body, top_k)


def read_invocations(
    body: bytes, content_type: str, query_top_k: str | None, custom_attributes: str
) -> list[Invocation | RequestError]:
    """Read a request with many photos: each line a JSON document, or each part of a form a photo.

    Args:
        body: The request's body.
        content_type: One that `holds_many`, with its parameters.
        query_top_k: ``top_k`` of the query, for the photos without their own.
        custom_attributes: The header X-Amzn-SageMaker-Custom-Attributes.

    Returns:
        For each photo, in their order, what is asked of it, or why that cannot be read.

    Raises:
        RequestError: 400 if the request as a whole cannot be read, 413 if it has too many photos.
    """
    top_k = _wanted(query_top_k, custom_attributes)
    if media_type(content_type) == MULTIPART:
        invocations = [_read(_invocation, photo, top_k) for photo in _parts(body, content_type)]
    else:
        invocations = [_read(_read_json, line, top_k) for line in _lines(body)]
    if not invocations:
        raise RequestError(HTTPStatus.BAD_REQUEST, "The request holds no photo; send at least one.")
    return invocations


def _read(read: Callable[[bytes, object], Invocation], content: bytes, top_k: object) -> Invocation | RequestError:
    try:
        return read(content, top_k)
    except RequestError as error:
        return error


def _lines(body: bytes) -> list[bytes]:
    lines = [line for line in body.split(b"\n", MAX_PHOTOS + 1) if line.strip()]
    if len(lines) > MAX_PHOTOS:
        raise _too_many()
    return lines


def _parts(body: bytes, content_type: str) -> list[bytes]:
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    photos: list[bytearray] = []
    try:
        with PushMultipartParser(boundary, len(body), max_segment_count=MAX_PHOTOS, strict=True) as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    photos.append(bytearray())
                elif event:
                    photos[-1] += event
    except ParserLimitReached:
        raise _too_many() from None
    except MultipartError:
        raise RequestError(HTTPStatus.BAD_REQUEST, f"The body is not valid {MULTIPART}.") from None
    return [bytes(photo) for photo in photos]


def _too_many() -> RequestError:
    return RequestError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The request holds more than {MAX_PHOTOS} photos; send fewer at once."
    )


def _invocation(photo: bytes, top_k: object) -> Invocation:
    if not photo:
        raise RequestError(HTTPStatus.BAD_REQUEST, "The body is empty; send a photo.")
    return Invocation(photo, _read_top_k(top_k))


def _wanted(query_top_k: str | None, custom_attributes: str) -> str | None:
    return query_top_k if query_top_k is not None else _top_k_attribute(custom_attributes)


def _top_k_attribute(custom_attributes: str) -> str | None:
    for attribute in custom_attributes.replace(";", ",").split(","):
        name, _, value = attribute.partition("=")
        if name.strip() == "top_k":
            return value.strip()
    return None


def _read_json(body: bytes, top_k: object) -> Invocation:
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
    return _invocation(photo, document.get("top_k", top_k))


def _read_top_k(value: object) -> int:
    if value is None:
        return DEFAULT_TOP_K
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value.lstrip("0")[:9] or 0)  # more digits than classes change nothing
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RequestError(HTTPStatus.BAD_REQUEST, "top_k must be a whole number from 1.")
    return value
