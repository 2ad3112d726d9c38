from __future__ import annotations

import base64
import json
from http import HTTPStatus

import pytest

from whippet_serving.invocation import DEFAULT_TOP_K, read_invocation
from whippet_serving.problem import RequestError

PHOTO = b"\xff\xd8\xff the photo"


def document(**fields: object) -> bytes:
    return json.dumps({"image": base64.b64encode(PHOTO).decode(), **fields}).encode()


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/png", "image/webp", "Image/JPEG; charset=binary"])
def test_takes_the_body_as_the_photo(content_type: str) -> None:
    invocation = read_invocation(PHOTO, content_type, None, "")

    assert (invocation.photo, invocation.top_k) == (PHOTO, DEFAULT_TOP_K)


def test_takes_the_photo_from_json() -> None:
    assert read_invocation(document(), "application/json; charset=utf-8", None, "").photo == PHOTO


@pytest.mark.parametrize(
    ("body", "content_type", "query", "attributes", "top_k"),
    [
        (PHOTO, "image/jpeg", "3", "", 3),
        (PHOTO, "image/jpeg", None, "top_k=4", 4),
        (PHOTO, "image/jpeg", None, "trace=abc, top_k = 4;x", 4),
        (PHOTO, "image/jpeg", None, "trace=abc", DEFAULT_TOP_K),
        (PHOTO, "image/jpeg", "3", "top_k=4", 3),
        (PHOTO, "image/jpeg", "9" * 5000, "", 999_999_999),
        (PHOTO, "image/jpeg", "0000000003", "", 3),
        (document(top_k=2), "application/json", None, "", 2),
        (document(top_k=2), "application/json", "3", "top_k=4", 2),
        (document(), "application/json", "3", "", 3),
    ],
)
def test_takes_top_k_from_the_json_then_the_query_then_the_header(
    body: bytes, content_type: str, query: str | None, attributes: str, top_k: int
) -> None:
    assert read_invocation(body, content_type, query, attributes).top_k == top_k


@pytest.mark.parametrize("top_k", ["0", "-1", "1.5", "many", "", "+3", "٣", "1_0"])
@pytest.mark.parametrize("place", ["query", "header"])
def test_refuses_a_top_k_that_is_no_whole_number_from_1(top_k: str, place: str) -> None:
    query, attributes = (top_k, "") if place == "query" else (None, f"top_k={top_k}")

    with pytest.raises(RequestError, match="top_k") as refusal:
        read_invocation(PHOTO, "image/jpeg", query, attributes)

    assert refusal.value.status is HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("top_k", [0, -1, 1.5, 3.0, True, [], "many"])
def test_refuses_a_top_k_in_json_that_is_no_whole_number_from_1(top_k: object) -> None:
    with pytest.raises(RequestError, match="top_k") as refusal:
        read_invocation(document(top_k=top_k), "application/json", None, "")

    assert refusal.value.status is HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("content_type", ["", "text/plain", "image/gif", "multipart/form-data; boundary=x", "image/*"])
def test_refuses_other_content_types_and_names_those_served(content_type: str) -> None:
    with pytest.raises(RequestError, match="image/jpeg") as refusal:
        read_invocation(PHOTO, content_type, None, "")

    assert refusal.value.status is HTTPStatus.UNSUPPORTED_MEDIA_TYPE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe\xff",
        b"[" * 100_000,
        b"9" * 10_000,
        b"null",
        b"[]",
        b"{}",
        b'{"image": null}',
        b'{"image": ""}',
        b'{"image": "not base64!"}',
        b'{"image": "abc"}',
        '{"image": "äöü="}'.encode(),
        b'{"image": "\\ud800"}',
    ],
)
def test_refuses_json_that_holds_no_photo(body: bytes) -> None:
    with pytest.raises(RequestError) as refusal:
        read_invocation(body, "application/json", None, "")

    assert refusal.value.status is HTTPStatus.BAD_REQUEST


def test_refuses_an_empty_body() -> None:
    with pytest.raises(RequestError, match="empty") as refusal:
        read_invocation(b"", "image/jpeg", None, "")

    assert refusal.value.status is HTTPStatus.BAD_REQUEST
