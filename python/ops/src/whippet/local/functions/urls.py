"""Function URLs: https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html.

One is `http://ID.lambda-url.REGION.localhost:PORT/`: curl and browsers take every name below localhost for this
machine, as RFC 6761 asks. Other clients connect to the gateway and send that name as `Host`.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import string
import time
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from moto.core.request import Request
from werkzeug.wrappers import Response

from whippet.local.access.function_urls import authorise_url
from whippet.local.access.principals import ANONYMOUS, Principal
from whippet.local.calls import AwsError, Call, answer, read_signature
from whippet.local.clock import Clock
from whippet.local.functions.invocations import Invoker
from whippet.local.functions.metering import Metering
from whippet.local.functions.records import (
    LATEST,
    Target,
    backend_of,
    find,
    find_alias,
    function_arn,
    named_by,
    qualified,
    regions,
    timestamp,
)
from whippet.local.functions.url_events import BadResultError, Cors, UrlRequest, answer_of, event_of
from whippet.local.records import shelf
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT, Settings

log = logging.getLogger(__name__)

HOST = re.compile(r"(?P<id>[a-z0-9]{32})\.lambda-url\.(?P<region>[a-z0-9-]+)\..+")
#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_PAYLOAD_BYTES = 6_291_456


@dataclass(frozen=True)
class Url:
    """The URL of a function or of an alias.

    Attributes:
        id: the first part of its host; it never changes.
        name: of the function.
        qualifier: the alias; empty for the function itself.
        auth_type: NONE or AWS_IAM.
        cors: as the API has it; empty for none.
        invoke_mode: BUFFERED, or RESPONSE_STREAM, which is kept but does not stream.
        created_at: seconds since 1970.
        modified_at: seconds since 1970.
    """

    id: str
    name: str
    qualifier: str
    auth_type: str
    cors: dict[str, Any]
    invoke_mode: str
    created_at: float
    modified_at: float


class Urls:
    """Answers requests to functions' URLs, and the operations on them.

    Args:
        settings: the gateway's address.
        clock: what times are told by.
        invoker: runs functions.
        metering: is told of requests.
    """

    def __init__(self, settings: Settings, clock: Clock, invoker: Invoker, metering: Metering) -> None:
        self._settings = settings
        self._clock = clock
        self._invoker = invoker
        self._metering = metering

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        operations = {
            "CreateFunctionUrlConfig": self.create,
            "DeleteFunctionUrlConfig": self.delete,
            "GetFunctionUrlConfig": self.get,
            "ListFunctionUrlConfigs": self.list,
            "UpdateFunctionUrlConfig": self.update,
        }
        return {("lambda", name): handler for name, handler in operations.items()}

    def create(self, call: Call, forward: Forward) -> Response:
        """CreateFunctionUrlConfig: https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunctionUrlConfig.html."""
        name, qualifier = _checked_name(call)
        if _find(call.region, name, qualifier) is not None:
            arn = qualified(function_arn(call.region, name), qualifier)
            message = f"Failed to create function url config for [functionArn = {arn}]. Error message:  "
            message += "FunctionUrlConfig exists for this Lambda function"
            raise AwsError("ResourceConflictException", message, members={"Type": "User"})
        params, now = call.params, self._clock.time()
        letters = string.ascii_lowercase + string.digits
        url = Url(
            id="".join(secrets.choice(letters) for _ in range(32)),
            name=name,
            qualifier=qualifier,
            auth_type=params["AuthType"],
            cors=dict(params.get("Cors") or {}),
            invoke_mode=params.get("InvokeMode", "BUFFERED"),
            created_at=now,
            modified_at=now,
        )
        _all(call.region)[url.id] = url
        return answer(call, self._told(call.region, url, "LastModifiedTime"))

    def update(self, call: Call, forward: Forward) -> Response:
        """UpdateFunctionUrlConfig: https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionUrlConfig.html."""
        url, params = _existing(call), call.params
        changed = replace(
            url,
            auth_type=params.get("AuthType", url.auth_type),
            cors=dict(params["Cors"]) if "Cors" in params else url.cors,
            invoke_mode=params.get("InvokeMode", url.invoke_mode),
            modified_at=self._clock.time(),
        )
        _all(call.region)[url.id] = changed
        return answer(call, self._told(call.region, changed))

    def get(self, call: Call, forward: Forward) -> Response:
        """GetFunctionUrlConfig: https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionUrlConfig.html."""
        return answer(call, self._told(call.region, _existing(call)))

    def list(self, call: Call, forward: Forward) -> Response:
        """ListFunctionUrlConfigs, on one page.

        https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctionUrlConfigs.html
        """
        name, _ = named_by(call)
        find(call.region, name)
        found = [url for url in _all(call.region).values() if url.name == name]
        return answer(call, {"FunctionUrlConfigs": [self._told(call.region, url) for url in found]})

    def delete(self, call: Call, forward: Forward) -> Response:
        """DeleteFunctionUrlConfig: https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunctionUrlConfig.html."""
        del _all(call.region)[_existing(call).id]
        return answer(call)

    def forget(self, region: str, name: str, qualifier: str) -> None:
        """Removes the URL of an alias, or all of a function where the qualifier is empty."""
        for url in list(_all(region).values()):
            if url.name == name and qualifier in ("", url.qualifier):
                del _all(region)[url.id]

    def answer(self, request: Request) -> Response | None:
        """The answer to a request to a function's URL; None where its host is none."""
        if not (found := HOST.fullmatch(request.host.partition(":")[0])):
            return None
        region, started = found["region"], time.perf_counter()
        url = _all(region).get(found["id"]) if region in regions() else None
        # AWS does not tell whether there is such a URL either.
        if url is None:
            return _refusal(403, "Forbidden")
        cors, origin = Cors.of(url.cors), request.headers.get("Origin", "")
        if request.method == "OPTIONS" and url.cors and origin and "Access-Control-Request-Method" in request.headers:
            return Response(status=200, headers=cors.preflight_headers(origin))
        response, target = self._respond(request, region, url)
        if target is not None:
            self._metering.requested(target, response.status_code, (time.perf_counter() - started) * 1000)
        if url.cors:  # what the function says of it does not count then
            for name in [name for name, _ in response.headers if name.lower().startswith("access-control-")]:
                del response.headers[name]
        response.headers.extend(cors.response_headers(origin))
        return response

    def _respond(self, request: Request, region: str, url: Url) -> tuple[Response, Target | None]:
        target = None
        try:
            target = self._invoker.resolve(region, url.name, url.qualifier)
            caller = authorise_url(request, region, url.name, url.qualifier, url.auth_type)
            return self._invoke(request, target, url, caller), target
        except AwsError as error:
            if error.code == "TooManyRequestsException":
                return _refusal(429, "Too Many Requests", error.headers), target
            if error.status in (403, 413):
                return _refusal(error.status, str(error)), target
            log.warning("the URL of function %s: %s", url.name, error)
            return _refusal(502, "Internal Server Error"), target

    def _invoke(self, request: Request, target: Target, url: Url, caller: Principal) -> Response:
        request_id = str(uuid4())
        body = request.get_data()
        asked = UrlRequest(
            id=request_id,
            method=request.method,
            path=request.raw_path.partition("?")[0],
            query=request.query_string.decode("latin-1"),
            headers=[*request.headers.items(), *_forwarded(request)],
            body=body,
            source_ip=request.remote_addr or "127.0.0.1",
            protocol=str(request.environ.get("SERVER_PROTOCOL", "HTTP/1.1")),
        )
        is_known = caller is not ANONYMOUS
        domain = request.host.partition(":")[0]
        event = event_of(
            asked,
            domain,
            ACCOUNT if is_known else "anonymous",
            _authorizer(request, caller) if is_known else None,
            self._clock.time(),
        )
        payload = json.dumps(event).encode()
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise AwsError("RequestEntityTooLargeException", "Request Entity Too Large", status=413)
        outcome = self._invoker.invoke(target, payload, request_id)
        told = {"x-amzn-RequestId": request_id}
        if outcome.is_error:
            return Response(b"Internal Server Error", 502, told, content_type="application/json")
        try:
            result = answer_of(outcome.payload)
        except BadResultError as error:
            log.warning("the URL of function %s: %s", url.name, error)
            return Response(b"Internal Server Error", 502, told, content_type="application/json")
        response = Response(result.body, result.status)
        del response.headers["Content-Type"]
        response.headers.extend([*result.headers, *told.items()])
        return response

    def _told(self, region: str, url: Url, *left_out: str) -> dict[str, Any]:
        told: dict[str, Any] = {
            "FunctionUrl": f"http://{url.id}.lambda-url.{region}.localhost:{self._settings.port}/",
            "FunctionArn": qualified(function_arn(region, url.name), url.qualifier),
            "AuthType": url.auth_type,
            "InvokeMode": url.invoke_mode,
            "CreationTime": timestamp(url.created_at),
            "LastModifiedTime": timestamp(url.modified_at),
            "Cors": url.cors or None,
        }
        return {name: value for name, value in told.items() if name not in left_out}


def _all(region: str) -> dict[str, Url]:
    return shelf(backend_of(region), "function_urls")


def _find(region: str, name: str, qualifier: str) -> Url | None:
    found = (url for url in list(_all(region).values()) if (url.name, url.qualifier) == (name, qualifier))
    return next(found, None)


def _checked_name(call: Call) -> tuple[str, str]:
    """The function and the alias that a call names; a version can have no URL.

    Raises:
        AwsError: there is no such.
    """
    name, qualifier = named_by(call)
    find(call.region, name, qualifier)
    if qualifier == LATEST or (qualifier and find_alias(call.region, name, qualifier) is None):
        message = "1 validation error detected: Value at 'qualifier' failed to satisfy constraint: it must be an alias"
        raise AwsError("ValidationException", message)
    return name, qualifier


def _existing(call: Call) -> Url:
    url = _find(call.region, *named_by(call))
    if url is None:
        message = "The resource you requested does not exist."
        raise AwsError("ResourceNotFoundException", message, members={"Type": "User"})
    return url


def _refusal(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    told = {"x-amzn-RequestId": str(uuid4()), **(headers or {})}
    return Response(json.dumps({"Message": message}), status, told, content_type="application/json")


def _forwarded(request: Request) -> list[tuple[str, str]]:
    """The headers that Lambda adds."""
    return [
        ("x-amzn-trace-id", f"Root=1-{int(time.time()):08x}-{uuid4().hex[:24]}"),
        ("x-forwarded-for", request.remote_addr or "127.0.0.1"),
        ("x-forwarded-port", str(request.environ.get("SERVER_PORT", "80"))),
        ("x-forwarded-proto", request.scheme),
    ]


def _authorizer(request: Request, caller: Principal) -> dict[str, Any]:
    """What the event tells of a caller whom IAM knows."""
    signature = read_signature(request)
    user_id = caller.context.get("aws:userid", "")
    return {
        "accessKey": signature.access_key if signature else "",
        "accountId": ACCOUNT,
        "callerId": user_id,
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": caller.arn,
        "userId": user_id,
    }
