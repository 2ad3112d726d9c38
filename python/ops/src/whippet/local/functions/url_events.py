"""The event that a request to a function's URL becomes, and the answer that the function's result becomes.

https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

#: Headers with which a caller proves who they are, which are none of the function's business.
SECRETS = ("authorization", "x-amz-security-token")
#: Headers that say how an answer is sent, which a function cannot know.
MADE_BY_SERVER = ("connection", "content-length", "transfer-encoding")
#: https://www.rfc-editor.org/rfc/rfc9110#name-fields
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[\t -~\x80-\xff]*")


class BadResultError(Exception):
    """A function has returned what is no answer to a request."""


@dataclass(frozen=True)
class UrlRequest:
    """A request to a function's URL.

    Attributes:
        id: of the invocation.
        method: as in GET.
        path: as it came.
        query: as it came.
        headers: names and values.
        body: as it came.
        source_ip: where it came from.
        protocol: as in HTTP/1.1.
    """

    id: str
    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    source_ip: str
    protocol: str


@dataclass(frozen=True)
class UrlResponse:
    """What is answered to a request to a function's URL.

    Attributes:
        status: the HTTP status.
        headers: names and values.
        body: its bytes.
    """

    status: int
    body: bytes
    headers: Sequence[tuple[str, str]] = field(default=())


def event_of(
    request: UrlRequest, domain: str, account: str, authorizer: Mapping[str, Any] | None, now: float
) -> dict[str, Any]:
    """The event, in version 2.0 of the format.

    Args:
        request: the request.
        domain: the host of the URL, whose first part is its id.
        account: of the caller; `anonymous` where that is not known.
        authorizer: what IAM knows of the caller; None where nobody was asked.
        now: seconds since 1970.
    """
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in request.headers:
        lower = name.lower()
        if lower == "cookie":
            cookies += [cookie.strip() for cookie in value.split(";")]
        elif lower not in SECRETS or authorizer is None:
            headers[lower] = f"{headers[lower]},{value}" if lower in headers else value
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(request.query, keep_blank_values=True):
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    at = datetime.fromtimestamp(now, UTC)
    domain_prefix = domain.partition(".")[0]
    context: dict[str, Any] = {
        "accountId": account,
        "apiId": domain_prefix,
        "domainName": domain,
        "domainPrefix": domain_prefix,
        "http": {
            "method": request.method,
            "path": request.path,
            "protocol": request.protocol,
            "sourceIp": request.source_ip,
            "userAgent": headers.get("user-agent", ""),
        },
        "requestId": request.id,
        "routeKey": "$default",
        "stage": "$default",
        "time": f"{at:%d/%b/%Y:%H:%M:%S} +0000",
        "timeEpoch": int(now * 1000),
    }
    if authorizer is not None:
        context["authorizer"] = {"iam": dict(authorizer)}
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": context,
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if parameters:
        event["queryStringParameters"] = parameters
    if request.body:
        text = _text(request.body, headers)
        event["isBase64Encoded"] = text is None
        event["body"] = base64.b64encode(request.body).decode() if text is None else text
    return event


def _text(body: bytes, headers: Mapping[str, str]) -> str | None:
    """A body as text; None where it is binary: whatever does not say that it is text or JSON."""
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    is_text = content_type.startswith("text/") or content_type in (
        "application/javascript",
        "application/json",
        "application/xml",
    )
    if not is_text or "content-encoding" in headers:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def answer_of(payload: bytes) -> UrlResponse:
    """The answer that a function's result becomes: itself, unless it has a statusCode.

    Raises:
        BadResultError: it has one, and is no answer nonetheless.
    """
    try:
        result = json.loads(payload)
    except ValueError as error:
        raise BadResultError("the result is no JSON") from error
    if not isinstance(result, dict) or "statusCode" not in result:
        return UrlResponse(200, payload, (("Content-Type", "application/json"),))
    try:
        status = int(result["statusCode"])
        body = result.get("body") or ""
        data = base64.b64decode(body, validate=True) if result.get("isBase64Encoded") else body.encode()
        headers = [
            (name, _header(value))
            for name, value in (result.get("headers") or {}).items()
            if name.lower() not in MADE_BY_SERVER
        ]
        cookies = [("Set-Cookie", _header(cookie)) for cookie in result.get("cookies") or []]
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise BadResultError(f"the result is no answer: {error}") from error
    if not 200 <= status <= 599:
        raise BadResultError(f"{status} is no status")
    if not all(HEADER_NAME.fullmatch(name) for name, _ in headers):
        raise BadResultError("a header has a name that HTTP does not know")
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", "application/json"))
    return UrlResponse(status, data, (*headers, *cookies))


def _header(value: object) -> str:
    """The value of a header, in one line: what follows a line break would be taken for another one."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if not HEADER_VALUE.fullmatch(text):
        raise ValueError("a header has a value that HTTP does not know")
    return text


@dataclass(frozen=True)
class Cors:
    """What web pages of other origins may do with a URL.

    https://docs.aws.amazon.com/lambda/latest/api/API_Cors.html

    Attributes:
        origins: from which; `*` for all.
        methods: with which; `*` for all.
        headers: that they may send.
        exposed: headers that they may read.
        max_age: seconds for which a browser may remember that; None for its own choice.
        allows_credentials: whether cookies come along.
    """

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...]
    exposed: tuple[str, ...]
    max_age: int | None
    allows_credentials: bool

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Cors:
        """From the parameters of the API."""
        names = ("AllowOrigins", "AllowMethods", "AllowHeaders", "ExposeHeaders")
        origins, methods, headers, exposed = (tuple(settings.get(name) or ()) for name in names)
        return cls(
            origins, methods, headers, exposed, settings.get("MaxAge"), bool(settings.get("AllowCredentials", False))
        )

    def response_headers(self, origin: str) -> list[tuple[str, str]]:
        """What is added to an answer for a page of an origin."""
        if not self._allows(origin):
            return []
        found = [("Access-Control-Allow-Origin", origin), ("Vary", "Origin")]
        if self.allows_credentials:
            found.append(("Access-Control-Allow-Credentials", "true"))
        if self.exposed:
            found.append(("Access-Control-Expose-Headers", ",".join(self.exposed)))
        return found

    def preflight_headers(self, origin: str) -> list[tuple[str, str]]:
        """What is answered to a browser that asks before it lets a page send a request."""
        found = self.response_headers(origin)
        if not found:
            return []
        if self.methods:
            found.append(("Access-Control-Allow-Methods", ",".join(self.methods)))
        if self.headers:
            found.append(("Access-Control-Allow-Headers", ",".join(self.headers)))
        if self.max_age is not None:
            found.append(("Access-Control-Max-Age", str(self.max_age)))
        return found

    def _allows(self, origin: str) -> bool:
        return bool(origin) and ("*" in self.origins or origin in self.origins)
