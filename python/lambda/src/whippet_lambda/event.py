"""Reads what callers send: a direct invocation, or a request through a Function URL or an HTTP API."""

from __future__ import annotations

import binascii
import json
from http import HTTPStatus
from typing import Any, Literal, NamedTuple

from whippet_lambda.problem import Problem

SOURCES = ("image", "s3", "url")


class Request(NamedTuple):
    """One question.

    Attributes:
        source: Where the photo comes from; `body` is a photo sent as it is.
        value: The photo itself for `image` and `body`; an address for `s3` and `url`.
        top_k: How many classes to return; None leaves it to the endpoint.
    """

    source: Literal["image", "body", "s3", "url"]
    value: bytes | str
    top_k: int | None


def parse(event: Any) -> Request:
    """Reads an event.

    Raises:
        Problem: 400 for anything that is not one photo from one source, 405 for a method other than POST.
    """
    if isinstance(event, dict) and isinstance(event.get("requestContext"), dict) and "http" in event["requestContext"]:
        return _parse_http(event)
    return _parse_document(event)


def _parse_http(event: dict[str, Any]) -> Request:
    """Payload format 2.0: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads."""
    http = event["requestContext"]["http"]
    if isinstance(http, dict) and http.get("method", "POST") != "POST":
        raise Problem(HTTPStatus.METHOD_NOT_ALLOWED, "Send the photo with POST.", headers={"allow": "POST"})
    body = event.get("body") or ""
    if not isinstance(body, str):
        raise Problem(HTTPStatus.BAD_REQUEST, "The request's body must be text or base64.")
    raw = _base64(body, "The request's body") if event.get("isBase64Encoded") else body.encode("utf-8", "replace")
    if not raw:
        raise Problem(HTTPStatus.BAD_REQUEST, "The body is empty: send a photo.")
    query = event.get("queryStringParameters")
    top_k = query.get("top_k") if isinstance(query, dict) else None
    headers = event.get("headers")
    headers = headers if isinstance(headers, dict) else {}
    content_type = next((str(value) for name, value in headers.items() if str(name).lower() == "content-type"), "")
    if content_type.partition(";")[0].strip().lower() == "application/json":
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError):
            raise Problem(HTTPStatus.BAD_REQUEST, "The body is not valid JSON.") from None
        if isinstance(document, dict) and top_k is not None:
            document.setdefault("top_k", top_k)
        return _parse_document(document)
    return Request("body", raw, _top_k(top_k))


def _parse_document(document: Any) -> Request:
    named = [source for source in SOURCES if source in document] if isinstance(document, dict) else []
    if len(named) != 1:
        raise Problem(
            HTTPStatus.BAD_REQUEST, 'Send one of {"image": "<base64>"}, {"s3": "s3://…"}, {"url": "https://…"}.'
        )
    value = document[named[0]]
    if not isinstance(value, str) or not value:
        raise Problem(HTTPStatus.BAD_REQUEST, f'The field "{named[0]}" must be a string that is not empty.')
    top_k = _top_k(document.get("top_k"))
    match named[0]:
        case "image":
            return Request("image", _base64(value, 'The field "image"'), top_k)
        case "s3":
            return Request("s3", value, top_k)
        case _:
            return Request("url", value, top_k)


def _base64(text: str, what: str) -> bytes:
    try:
        # Takes the text as it is; base64.b64decode would copy it and search it first.
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise Problem(HTTPStatus.BAD_REQUEST, f"{what} is not valid base64.") from None


def _top_k(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 10**9:
        raise Problem(HTTPStatus.BAD_REQUEST, "top_k must be a whole number from 1.")
    return value
