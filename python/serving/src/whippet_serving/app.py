"""SageMaker's hosting contract over HTTP: GET /ping and POST /invocations.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Executor
from dataclasses import dataclass
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from whippet_serving.classifier import Classifier
from whippet_serving.invocation import read_invocation
from whippet_serving.problem import RequestError

MAX_BODY_BYTES = 6_291_456
"""What InvokeEndpoint lets through (botocore's service model, 6 MiB)."""

_ADVICE = {
    HTTPStatus.NOT_FOUND: "There is nothing here: POST a photo to /invocations, or GET /ping.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This path has another method: POST a photo to /invocations, or GET /ping.",
}


@dataclass(frozen=True)
class Limits:
    """What callers can claim of the server.

    Attributes:
        body_bytes: A larger body is refused as soon as it is known to be larger.
        in_flight: Requests beyond these are told to come back, so that those accepted are answered in time. Their
            bodies are the memory that callers can claim: 0.8 GB at the most.
        body_timeout_s: How long a body may take to arrive; SageMaker itself gives up on a container after 60 s.
    """

    body_bytes: int = MAX_BODY_BYTES
    in_flight: int = 128
    body_timeout_s: float = 60.0


def create_app(classifier: Classifier, executor: Executor, limits: Limits) -> Starlette:
    """Build the ASGI application around a model that has answered already.

    Args:
        classifier: The model.
        executor: Where photos are decoded and classified; the event loop stays free for connections and /ping.
        limits: What callers can claim of the server.
    """
    endpoints = _Endpoints(classifier, executor, limits)
    app = Starlette(
        routes=[
            Route("/ping", endpoints.ping, methods=["GET"]),
            Route("/invocations", endpoints.invocations, methods=["POST"]),
        ],
        exception_handlers=dict.fromkeys((RequestError, HTTPException, Exception), _on_error),
    )
    app.router.redirect_slashes = False
    return app


class _Endpoints:
    def __init__(self, classifier: Classifier, executor: Executor, limits: Limits) -> None:
        self.classifier = classifier
        self.executor = executor
        self.limits = limits
        self.in_flight = 0
        self.healthy = True

    async def ping(self, request: Request) -> Response:
        """Answer 200, unless the model failed when it was last asked: SageMaker then replaces the instance."""
        if not self.healthy:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "The model failed to answer; see the server's log.")
        return Response(media_type="application/json")

    async def invocations(self, request: Request) -> Response:
        """Classify a photo."""
        if self.in_flight >= self.limits.in_flight:
            raise RequestError(
                HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests at once; try again.", {"retry-after": "1"}
            )
        self.in_flight += 1
        try:
            body = await self._read_body(request)
            answer = await asyncio.get_running_loop().run_in_executor(
                self.executor,
                self._answer,
                body,
                request.headers.get("content-type", ""),
                request.query_params.get("top_k"),
                request.headers.get("x-amzn-sagemaker-custom-attributes", ""),
            )
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody is left to read it
        except RequestError:
            raise
        except Exception:
            self.healthy = False
            raise
        finally:
            self.in_flight -= 1
        self.healthy = True
        return Response(answer, media_type="application/json")

    async def _read_body(self, request: Request) -> bytes:
        if int(request.headers.get("content-length", 0)) > self.limits.body_bytes:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.body_timeout_s):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self.limits.body_bytes:
                        raise self._too_large()
        except TimeoutError:
            raise RequestError(
                HTTPStatus.REQUEST_TIMEOUT,
                f"The body did not arrive within {self.limits.body_timeout_s:g} s; send it again.",
                {"connection": "close"},
            ) from None
        return bytes(body)

    def _too_large(self) -> RequestError:
        return RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The body is larger than {self.limits.body_bytes} bytes; send a smaller photo.",
        )

    def _answer(self, body: bytes, content_type: str, query_top_k: str | None, custom_attributes: str) -> bytes:
        invocation = read_invocation(body, content_type, query_top_k, custom_attributes)
        answer = self.classifier.classify(invocation.photo, invocation.top_k)
        return json.dumps(answer).encode()


async def _on_error(request: Request, error: Exception) -> Response:
    match error:
        case RequestError():
            problem = error
        case HTTPException():
            status = HTTPStatus(error.status_code)
            problem = RequestError(status, _ADVICE.get(status, error.detail), error.headers)
        case _:  # a defect of the server; the trace goes to its log only
            problem = RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, "The server failed; see its log.")
    return Response(
        json.dumps(problem.document()),
        status_code=problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )
