"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any


class Problem(Exception):  # noqa: N818 - RFC 9457's own word
    """A request that ends without a prediction.

    Args:
        status: The HTTP status of the answer.
        detail: One sentence for the caller, which says what to do; never an ARN, an account id or a trace.
        cause: What the log says beside it.
        headers: More headers of the answer, such as Retry-After.
    """

    def __init__(
        self, status: HTTPStatus, detail: str, *, cause: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.cause = cause
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """The problem document (https://www.rfc-editor.org/rfc/rfc9457)."""
        return {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
        }


def too_large(limit: int) -> Problem:
    """The answer to a photo over the limit, given in bytes."""
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The photo is larger than {limit} bytes: send a smaller one.")
