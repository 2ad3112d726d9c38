from __future__ import annotations

import json
from typing import Any

import pytest

from whippet.local.functions.url_events import BadResultError, UrlRequest, answer_of, event_of


def event(headers: list[tuple[str, str]], body: bytes = b"", authorizer: dict[str, str] | None = None) -> Any:
    request = UrlRequest("id", "POST", "/", "", headers, body, "127.0.0.1", "HTTP/1.1")
    return event_of(request, "abc.lambda-url.us-east-1.localhost", "anonymous", authorizer, 0.0)


def test_headers_are_in_lower_case_and_those_of_one_name_in_one_line() -> None:
    told = event([("X-Breed", "pug"), ("x-breed", "beagle"), ("Cookie", "a=1;b=2"), ("cookie", "c=3")])
    assert told["headers"] == {"x-breed": "pug,beagle"}
    assert told["cookies"] == ["a=1", "b=2", "c=3"]


def test_what_proves_who_calls_is_for_iam_or_for_the_function() -> None:
    headers = [("Authorization", "secret"), ("X-Amz-Security-Token", "secret")]
    assert event(headers)["headers"]["authorization"] == "secret"
    assert event(headers, authorizer={"userArn": "arn"})["headers"] == {}


@pytest.mark.parametrize(
    ("content_type", "body", "is_text"),
    [
        ("text/plain", b"hello", True),
        ("TEXT/HTML; charset=utf-8", "ü".encode(), True),
        ("application/json", b"{}", True),
        ("application/octet-stream", b"hello", False),
        ("text/plain", b"\xff", False),
        ("", b"hello", False),
    ],
)
def test_a_body_is_text_where_it_says_so(content_type: str, body: bytes, is_text: bool) -> None:
    told = event([("Content-Type", content_type)] if content_type else [], body)
    assert told["isBase64Encoded"] is not is_text
    assert (told["body"] == body.decode(errors="replace")) is is_text


def test_a_packed_body_is_not_text() -> None:
    assert event([("content-type", "text/plain"), ("content-encoding", "gzip")], b"x")["isBase64Encoded"] is True


@pytest.mark.parametrize(
    "result",
    [
        {"statusCode": "many"},
        {"statusCode": None},
        {"statusCode": float("inf")},
        {"statusCode": 100},
        {"statusCode": 600},
        {"statusCode": 200, "body": {"a": 1}},
        {"statusCode": 200, "body": "no base64!", "isBase64Encoded": True},
        {"statusCode": 200, "body": "\ud800"},
        {"statusCode": 200, "headers": ["a"]},
        {"statusCode": 200, "headers": {"a": "b\r\nSet-Cookie: c"}},
        {"statusCode": 200, "headers": {"a": "\u65e5"}},
        {"statusCode": 200, "headers": {"a\r\nSet-Cookie": "c"}},
        {"statusCode": 200, "headers": {"a b": "c"}},
        {"statusCode": 200, "cookies": ["a\nb"]},
        {"statusCode": 200, "cookies": 1},
    ],
)
def test_a_result_that_is_no_answer_is_none(result: dict[str, Any]) -> None:
    with pytest.raises(BadResultError):
        answer_of(json.dumps(result).encode())


def test_a_result_is_an_answer() -> None:
    headers = {"X-Number": 1, "X-True": True, "Content-Length": "7"}
    answer = answer_of(json.dumps({"statusCode": "201", "headers": headers, "cookies": ["a=1", "b=2"]}).encode())
    assert (answer.status, answer.body) == (201, b"")
    assert list(answer.headers) == [
        ("X-Number", "1"),
        ("X-True", "true"),
        ("Content-Type", "application/json"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
    ]
