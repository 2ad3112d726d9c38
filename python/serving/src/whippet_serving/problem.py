from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any


class RequestError(Exception):
    """A request that is refused, as the caller reads it: an RFC 9457 problem document.

    Attributes:
        status: HTTP status of the answer.
        detail: One sentence that says what to do.
        headers: Further headers of the answer.
    """

    def __init__(self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers

    def document(self) -> dict[str, Any]:
        """Return the body of the answer (``application/problem+json``)."""
        return {"type": "about:blank", "title": self.status.phrase, "status": int(self.status), "detail": self.detail}
