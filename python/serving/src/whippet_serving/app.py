"""SageMaker's hosting contract over HTTP, GET /ping and POST /invocations, and GET /metrics.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from whippet_serving.classifier import Answer, Classifier
from whippet_serving.explanation import PHOTOS as EXPLAINED
from whippet_serving.invocation import JSON_LINES, Invocation, holds_many, read_invocation, read_invocations
from whippet_serving.metrics import Metrics
from whippet_serving.problem import RequestError

T = TypeVar("T")

logger = logging.getLogger("whippet_serving")
access_logger = logging.getLogger("whippet_serving.access")

MAX_BODY_BYTES = 6_291_456
"""What InvokeEndpoint lets through (botocore's service model, 6 MiB)."""

_ADVICE = {
    HTTPStatus.NOT_FOUND: "There is nothing here: POST a photo to /invocations, or GET /ping.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This path has another method: POST a photo to /invocations, or GET /ping.",
}

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_BUSY = {"retry-after": "1"}
_FAILURE = RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, "The server failed; see its log.")


@dataclass(frozen=True)
class Limits:
    """What callers can claim of the server.

    Attributes:
        body_bytes: A larger body is refused as soon as it is known to be larger.
        in_flight: Photos beyond these are told to come back, so that those accepted are answered in time.
        arriving_bytes: Of all bodies that have not arrived whole; what a slow sender has not sent takes nobody's place.
        body_timeout_s: How long a body may take to arrive; SageMaker itself gives up on a container after 60 s.
        deadline_s: A request that has not been answered by then has no caller left, and is not worked on any more.
    """

    body_bytes: int = MAX_BODY_BYTES
    in_flight: int = 64
    arriving_bytes: int = 64 * MAX_BODY_BYTES
    body_timeout_s: float = 60.0
    deadline_s: float = 60.0


class Service:
    """What the routes share: the model, the threads that ask it, and the state that /ping and /metrics show.

    Args:
        classifier: A model that has answered already.
        executor: Where photos are decoded and classified; the event loop stays free for connections and /ping.
        limits: What callers can claim of the server.
    """

    def __init__(self, classifier: Classifier, executor: Executor, limits: Limits) -> None:
        self.classifier = classifier
        self.executor = executor
        self.limits = limits
        self.in_flight = 0
        self.arriving = 0
        self.healthy = True
        self.draining = False
        self.metrics = Metrics(classifier.archive, classifier.engine.name, lambda: self.in_flight)

    @property
    def is_full(self) -> bool:
        """Whether as many photos are worked on as may be."""
        return self.in_flight >= self.limits.in_flight

    async def ping(self, request: Request) -> Response:
        """Answer 200, unless the model failed when it was last asked: SageMaker then replaces the instance."""
        if not self.healthy:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "The model failed to answer; see the server's log.")
        return Response(media_type="application/json", headers=self._headers())

    async def show_metrics(self, request: Request) -> Response:
        """Answer with the figures since the start."""
        return Response(self.metrics.exposition(), media_type=self.metrics.content_type, headers=self._headers())

    async def invocations(self, request: Request) -> Response:
        """Classify a photo, or several."""
        started = time.perf_counter()
        facts: dict[str, Any] = {"request_id": _request_id(request.headers)}
        try:
            body = await self._read_body(request)
            if self.is_full:
                raise _full()
            response = await self._answer(request, body, facts)
        except ClientDisconnect:
            response = Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody is left to read it
        except RequestError as error:
            response = problem_response(error)
        except Exception:  # a defect of the server; the trace goes to the log only
            logger.exception("A request could not be answered", extra=facts)
            response = problem_response(_FAILURE)
        response.headers.update({"x-request-id": facts["request_id"], **self._headers()})
        self.note(response.status_code, time.perf_counter() - started, facts)
        return response

    async def _answer(self, request: Request, body: bytes, facts: dict[str, Any]) -> Response:
        facts["bytes"] = len(body)
        asked = (
            body,
            request.headers.get("content-type", ""),
            request.query_params.get("top_k"),
            request.headers.get("x-amzn-sagemaker-custom-attributes", ""),
        )
        explained = request.query_params.get("explain") in ("1", "true")
        try:
            async with asyncio.timeout(self.limits.deadline_s):
                if holds_many(asked[1]):
                    with self._counted(1, explained=False):
                        invocations = await self._run(read_invocations, *asked)
                    return await self._answer_many(invocations, explained, facts)
                with self._counted(1, explained):
                    status, document = await self._answer_one(partial(read_invocation, *asked), explained, facts)
        except TimeoutError:
            raise RequestError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"The server is too busy to answer within {self.limits.deadline_s:g} s; try again.",
                _BUSY,
            ) from None
        return json_response(status, document)

    async def _answer_many(
        self, invocations: list[Invocation | RequestError], explained: bool, facts: dict[str, Any]
    ) -> Response:
        facts["photos"] = len(invocations)
        with self._counted(len(invocations), explained):
            answers = await asyncio.gather(
                *(self._answer_one(partial(_settled, one), explained, {**facts}) for one in invocations)
            )
        lines = b"".join(json.dumps(document).encode() + b"\n" for _, document in answers)
        return Response(lines, media_type=JSON_LINES[0])

    async def _answer_one(
        self, read: Callable[[], Invocation], explained: bool, facts: dict[str, Any]
    ) -> tuple[HTTPStatus, dict[str, Any]]:
        answer = None
        try:
            answer = await self._run(self._classify, read, explained)
            status, document = HTTPStatus.OK, answer.document
            facts.update(decode_ms=round(1000 * answer.decoding_s, 1), inference_ms=round(1000 * answer.inferring_s, 1))
            self.healthy = True
        except RequestError as error:
            status, document = error.status, error.document()
        except Exception:  # a defect of the model or the server; the trace goes to the log only
            self.healthy = False
            logger.exception("The model failed to answer", extra=facts)
            status, document = _FAILURE.status, _FAILURE.document()
        self.metrics.photo(status, answer)
        return status, document

    def _classify(self, read: Callable[[], Invocation], explained: bool) -> Answer:
        invocation = read()
        return self.classifier.classify(invocation.photo, invocation.top_k, explained)

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.executor, work, *arguments)

    async def _read_body(self, request: Request) -> bytes:
        if int(request.headers.get("content-length", 0)) > self.limits.body_bytes:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.body_timeout_s):
                async for chunk in request.stream():
                    body += chunk
                    self.arriving += len(chunk)
                    if len(body) > self.limits.body_bytes:
                        raise self._too_large()
                    if self.arriving >= self.limits.arriving_bytes:
                        raise _full()
        except TimeoutError:
            raise RequestError(
                HTTPStatus.REQUEST_TIMEOUT,
                f"The body did not arrive within {self.limits.body_timeout_s:g} s; send it again.",
                {"connection": "close"},
            ) from None
        finally:
            self.arriving -= len(body)
        return bytes(body)

    def _too_large(self) -> RequestError:
        return RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The body is larger than {self.limits.body_bytes} bytes; send a smaller photo.",
        )

    @contextmanager
    def _counted(self, photos: int, explained: bool) -> Iterator[None]:
        work = photos * (EXPLAINED if explained else 1)
        self.in_flight += work
        try:
            yield
        finally:
            self.in_flight -= work

    def _headers(self) -> dict[str, str]:
        """What every answer carries: while the server ends, callers are told to go on over another connection."""
        return {"connection": "close"} if self.draining else {}

    def note(self, status: int, seconds: float, facts: dict[str, Any]) -> None:
        """Count a request that was answered, and write its line to the log if that is wanted."""
        self.metrics.request(status, seconds if status != HTTPStatus.SERVICE_UNAVAILABLE else None)
        if access_logger.isEnabledFor(logging.INFO):
            facts = {**facts, "status": status, "ms": round(1000 * seconds, 1)}
            access_logger.info("POST /invocations", extra=facts)


class Gate:
    """Takes requests for predictions straight to the service, and turns them away while that is full.

    The way through Starlette takes a fifth of the time that such a request spends outside of the network; and under
    many times the load that it can carry, a server does little but turn requests away.

    Args:
        app: Answers everything else.
        service: Knows whether the server is full.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._full = problem_response(_full())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; see ASGI."""
        service = self._service
        if scope["type"] != "http" or scope["path"] != "/invocations" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        if not service.is_full:
            response = await service.invocations(Request(scope, receive))
            await response(scope, receive, send)
            return
        facts = {"request_id": _request_id(Headers(scope=scope))}
        headers = [*self._full.raw_headers, (b"x-request-id", facts["request_id"].encode())]
        if service.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": self._full.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self._full.body})
        service.note(self._full.status_code, 0.0, facts)


def create_app(service: Service) -> ASGIApp:
    """Build the ASGI application around a service."""
    app = Starlette(
        routes=[
            Route("/ping", service.ping, methods=["GET"]),
            Route("/invocations", service.invocations, methods=["POST"]),
            Route("/metrics", service.show_metrics, methods=["GET"]),
        ],
        exception_handlers=dict.fromkeys((RequestError, HTTPException, Exception), _on_error),
    )
    app.router.redirect_slashes = False
    return Gate(app, service)


def _full() -> RequestError:
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests at once; try again.", _BUSY)


def json_response(status: HTTPStatus, document: dict[str, Any]) -> Response:
    """Answer with a document: predictions, or a problem."""
    media_type = "application/json" if status == HTTPStatus.OK else "application/problem+json"
    return Response(json.dumps(document), status_code=status, media_type=media_type)


def problem_response(problem: RequestError) -> Response:
    """Answer with a problem document and its headers."""
    response = json_response(problem.status, problem.document())
    response.headers.update(problem.headers or {})
    return response


def _settled(invocation: Invocation | RequestError) -> Invocation:
    if isinstance(invocation, RequestError):
        raise invocation
    return invocation


def _request_id(headers: Headers) -> str:
    """The caller's own, if it can stand in a log, so that its lines and ours are found together."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


async def _on_error(request: Request, error: Exception) -> Response:
    match error:
        case RequestError():
            return problem_response(error)
        case HTTPException():
            status = HTTPStatus(error.status_code)
            return problem_response(RequestError(status, _ADVICE.get(status, error.detail), error.headers))
        case _:
            return problem_response(_FAILURE)
