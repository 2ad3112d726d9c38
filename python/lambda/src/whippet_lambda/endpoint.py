"""Asks the SageMaker endpoint.

A signed POST over a kept connection, not the SDK's client: its time limits are fixed when it is made, whereas a call
here may take exactly as long as Lambda has left; and it takes many times as long to start (docs/lambda-interface.md).
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from whippet_lambda.config import ConfigError
from whippet_lambda.connection import ConnectionFailedError, Connections
from whippet_lambda.deadline import Deadline, too_slow
from whippet_lambda.problem import Problem
from whippet_lambda.retries import RetryBudget
from whippet_lambda.signature import Credentials, sign

WAITING_FOR = "The endpoint"

#: A first try and one more, for what passes by itself: a kept connection that the other side closed, a busy front end.
#: Not more: a call that waits holds one of the few environments that the reserved concurrency leaves.
TRIES = 2

#: Seconds before a second try that SageMaker asked for, at most; the real pause is random, so that calls turned away
#: together do not come back together (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
PAUSE = 0.2

#: What a caller is told to wait, in seconds, when the endpoint is throttled: scaling out takes longer, a burst less.
RETRY_AFTER = "1"

#: SageMaker passes this header on to the container.
#: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"

#: SageMaker's status for what the container answered other than 200, which it wraps as ModelError.
FROM_THE_CONTAINER = HTTPStatus.FAILED_DEPENDENCY

#: What a second try may get past, where SageMaker's own front end says it.
PASSING = frozenset({429, 500, 503})

#: Traces of AWS or of a program in a container's words, which are not for callers: ARNs, account ids, stack traces.
INTERNAL = re.compile(r"arn:|\d{12}|traceback|\bfile \"", re.IGNORECASE)


def pause() -> None:
    """Waits before a second try."""
    time.sleep(random.uniform(0, PAUSE))  # noqa: S311 - spreads load, hides nothing


class Endpoint:
    """One SageMaker endpoint.

    Args:
        name: Its name.
        region: The region it is in.
        credentials: Whose permission is used.
        url: The address of the SageMaker runtime service.
        pause: Waits before a second try.
    """

    def __init__(
        self, name: str, region: str, credentials: Credentials, url: str, pause: Callable[[], None] = pause
    ) -> None:
        self.url = url
        self.connections = Connections(url)
        self._region = region
        self._credentials = credentials
        self._pause = pause
        self._budget = RetryBudget()
        parts = urlsplit(url)
        self._host = parts.netloc.rpartition("@")[2]
        self._path = f"{parts.path}/endpoints/{quote(name, safe='')}/invocations"

    @classmethod
    def from_environment(cls, name: str, environment: Mapping[str, str]) -> Endpoint:
        """An endpoint by what the Lambda runtime sets: region, credentials, and the address where it is not AWS's.

        https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime

        Raises:
            ConfigError: Region or credentials are missing: this is not Lambda.
        """
        for variable in ("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            if not environment.get(variable):
                raise ConfigError(f"Set {variable}, as the Lambda runtime does.")
        region = environment["AWS_REGION"]
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        url = (
            environment.get("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME")
            or environment.get("AWS_ENDPOINT_URL")
            or f"https://runtime.sagemaker.{region}.{suffix}"
        )
        credentials = Credentials(
            environment["AWS_ACCESS_KEY_ID"],
            environment["AWS_SECRET_ACCESS_KEY"],
            environment.get("AWS_SESSION_TOKEN", ""),
        )
        return cls(name, region, credentials, url.rstrip("/"))

    def invoke(
        self,
        photo: bytes,
        content_type: str,
        top_k: int | None,
        deadline: Deadline,
        on_retry: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Asks about one photo.

        Args:
            photo: An encoded picture.
            content_type: Its media type.
            top_k: How many classes to return; None leaves it to the endpoint.
            deadline: When to give up; a second try that would not end before is not begun.
            on_retry: Called before a second try.

        Returns:
            The container's answer: `predictions` and `model`.

        Raises:
            Problem: What the container says of the photo (4xx), 429 throttled, 502 failed, 504 too slow.
        """
        headers = {"host": self._host, "content-type": content_type, "accept": "application/json"}
        if top_k is not None:
            headers[CUSTOM_ATTRIBUTES] = f"top_k={top_k}"
        problem = failed("no answer")
        for attempt in range(1, TRIES + 1):
            began = deadline.clock()
            signed = sign(self._credentials, "sagemaker", self._region, self._path, headers, photo)
            try:
                answer = self.connections.post(self._path, signed, photo, deadline.remaining(WAITING_FOR))
            except TimeoutError:
                raise too_slow(WAITING_FOR) from None
            except ConnectionFailedError as error:
                problem, pause = failed(str(error)), 0.0
            else:
                if answer.status == HTTPStatus.OK:
                    self._budget.earn()
                    return _read(answer.body)
                problem, pause = refusal(answer.status, answer.headers.get("x-amzn-errortype", ""), answer.body), PAUSE
                if answer.status == FROM_THE_CONTAINER or not PASSING & {answer.status, problem.status}:
                    break
            # the next try takes about as long as this one did
            if attempt == TRIES or deadline.at < 2 * deadline.clock() - began + pause or not self._budget.spend():
                break
            on_retry()
            if pause:
                self._pause()
        raise problem


def refusal(status: int, error_type: str, body: bytes) -> Problem:
    """What the caller is told of an error of InvokeEndpoint.

    Errors: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html#API_runtime_InvokeEndpoint_Errors

    Args:
        status: HTTP status of SageMaker's answer.
        error_type: Its x-amzn-errortype header.
        body: Its JSON body.
    """
    document = _object(body)
    cause = f"{status} {error_type.partition(':')[0]}: {str(document.get('Message') or document.get('message'))[:500]}"
    original = document.get("OriginalStatusCode")
    if status == FROM_THE_CONTAINER and isinstance(original, int):
        if original in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            return throttled(cause)
        if original in (400, 413, 415, 422):
            return Problem(HTTPStatus(original), detail(str(document.get("OriginalMessage", ""))), cause=cause)
        if original == 0 and "timed out" in cause:  # what SageMaker says when the container does not answer in 60 s
            return too_slow(WAITING_FOR, cause)
        return failed(cause)
    if status == HTTPStatus.TOO_MANY_REQUESTS or "Throttling" in error_type:
        return throttled(cause)
    return failed(cause)


def throttled(cause: str) -> Problem:
    """The answer when the endpoint has more to do than it can."""
    detail = "The endpoint is busy. Try again after the seconds in Retry-After."
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, cause=cause, headers={"retry-after": RETRY_AFTER})


def failed(cause: str) -> Problem:
    """The answer when the endpoint is at fault; the cause is for the log only."""
    return Problem(
        HTTPStatus.BAD_GATEWAY, "The endpoint failed to answer. Try again; if it lasts, tell its owner.", cause=cause
    )


def detail(message: str) -> str:
    """The own sentence of the container's problem document where it is one for callers."""
    told = _object(message.encode()).get("detail")
    if isinstance(told, str) and 0 < len(told) <= 300 and told.isprintable() and not INTERNAL.search(told):
        return told
    return "The model cannot read this photo: send another file."


def _read(body: bytes) -> dict[str, Any]:
    document = _object(body)
    if not isinstance(document.get("predictions"), list):
        raise failed("the container's answer has no predictions")
    return {"predictions": document["predictions"], "model": document.get("model", {})}


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
