"""What Lambda hands the function, and a stand-in for the endpoint it asks."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from whippet_lambda.endpoint import Endpoint
from whippet_lambda.signature import Credentials

JPEG = b"\xff\xd8\xff\xe0" + bytes(60)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)
WEBP = b"RIFF\x40\x00\x00\x00WEBP" + bytes(60)
PREDICTIONS = {"predictions": [{"label": "Pug", "score": 0.9}], "model": {"id": "abc"}}


@dataclass
class Reply:
    """What the stand-in for SageMaker's runtime answers."""

    status: int = 200
    document: Any = field(default_factory=lambda: PREDICTIONS)
    error_type: str = ""
    before: Callable[[], object] = lambda: None


@dataclass
class Runtime:
    """A server that speaks SageMaker's runtime protocol: the last reply repeats; every request is kept."""

    url: str
    replies: list[Reply] = field(default_factory=lambda: [Reply()])
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def endpoint(self, name: str = "breeds") -> Endpoint:
        return Endpoint(name, "us-east-1", Credentials("AKIDEXAMPLE", "secret", "token"), self.url)


class Context:
    """Lambda's context object, as far as the handler looks at it."""

    aws_request_id = "8f507cfc-example"
    function_name = "breeds"

    def __init__(self, seconds: float = 30) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


def image_event(photo: bytes = JPEG, **more: Any) -> dict[str, Any]:
    return {"image": base64.b64encode(photo).decode(), **more}


def http_event(body: str | None, *, encoded: bool = True, **more: Any) -> dict[str, Any]:
    """A Function URL's event, payload format 2.0."""
    return {
        "version": "2.0",
        "headers": {"Content-Type": "image/jpeg"},
        "requestContext": {"http": {"method": "POST", "path": "/"}},
        "body": body,
        "isBase64Encoded": encoded,
        **more,
    }
