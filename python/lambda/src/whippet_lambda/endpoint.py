"""Asks the SageMaker endpoint.

A signed POST over a kept connection, not the SDK's client: its time limits are fixed when it is made, whereas a call
here may take exactly as long as Lambda has left; and it starts in about half the time (see docs/lambda-interface.md).
The signature is botocore's, which the Lambda runtime provides.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from urllib3.exceptions import HTTPError, ReadTimeoutError

from whippet_lambda.config import ConfigError
from whippet_lambda.deadline import Deadline, too_slow
from whippet_lambda.problem import Problem

WAITING_FOR = "The endpoint"

#: A first try and one more, for what passes by itself: a kept connection that the other side closed, a busy front end.
#: Not more: a call that waits holds one of the few environments that the reserved concurrency leaves.
TRIES = 2

#: Seconds before a second try that SageMaker asked for, at most; the real pause is random, so that calls turned away
#: together do not come back together (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
PAUSE = 0.2

CONNECT_SECONDS = 2.0

#: What a caller is told to wait, in seconds, when the endpoint is throttled: scaling out takes longer, a burst less.
RETRY_AFTER = "1"

#: SageMaker passes this header on to the container.
#: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"

#: SageMaker's status for what the container answered other than 200, which it wraps as ModelError.
FROM_THE_CONTAINER = HTTPStatus.FAILED_DEPENDENCY

#: What a second try may get past, where SageMaker's own front end says it.
PASSING = frozenset({429, 500, 503})

#: Traces of AWS or of a program in a container's words, which are not for callers: ARNs, account ids, stack traces.
INTERNAL = re.compile(r"arn:|\d{12}|traceback|\bfile \"", re.IGNORECASE)


@dataclass(frozen=True)
class Endpoint:
    """One SageMaker endpoint.

    Attributes:
        name: Its name.
        region: The region it is in.
        credentials: Whose permission is used.
        url: The address of the SageMaker runtime service.
        pool: Kept connections.
        pause: Waits before a second try.
    """

    name: str
    region: str
    credentials: Credentials
    url: str
    pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(maxsize=1))
    pause: Callable[[], None] = lambda: time.sleep(random.uniform(0, PAUSE))  # noqa: S311 - spreads load, hides nothing

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
            environment.get("AWS_SESSION_TOKEN"),
        )
        return cls(name, region, credentials, url.rstrip("/"))

    def invoke(self, photo: bytes, content_type: str, top_k: int | None, deadline: Deadline) -> dict[str, Any]:
        """Asks about one photo.

        Args:
            photo: An encoded picture.
            content_type: Its media type.
            top_k: How many classes to return; None leaves it to the endpoint.
            deadline: When to give up.

        Returns:
            The container's answer: `predictions` and `model`.

        Raises:
            Problem: What the container says of the photo (4xx), 429 throttled, 502 failed, 504 too slow.
        """
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        if top_k is not None:
            headers[CUSTOM_ATTRIBUTES] = f"top_k={top_k}"
        url = f"{self.url}/endpoints/{quote(self.name, safe='')}/invocations"
        problem = failed("no answer")
        for attempt in range(1, TRIES + 1):
            request = AWSRequest("POST", url, headers=headers, data=photo)
            SigV4Auth(self.credentials, "sagemaker", self.region).add_auth(request)
            seconds = deadline.remaining(WAITING_FOR)
            try:
                answer = self.pool.request(
                    "POST",
                    url,
                    body=photo,
                    headers=dict(request.headers),
                    timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), read=seconds),
                    retries=False,
                    redirect=False,
                )
            except ReadTimeoutError:
                raise too_slow(WAITING_FOR) from None
            except HTTPError as error:
                problem = failed(type(error).__name__)
                continue
            if answer.status == HTTPStatus.OK:
                return _read(answer.data)
            problem = refusal(answer.status, answer.headers.get("x-amzn-errortype", ""), answer.data)
            if answer.status == FROM_THE_CONTAINER or not PASSING & {answer.status, problem.status}:
                break
            if attempt < TRIES:
                self.pause()
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
            return Problem(HTTPStatus(original), _detail(str(document.get("OriginalMessage", ""))), cause=cause)
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


def _detail(message: str) -> str:
    """The container's own sentence where it is one for callers."""
    detail = _object(message.encode()).get("detail")
    if isinstance(detail, str) and 0 < len(detail) <= 300 and detail.isprintable() and not INTERNAL.search(detail):
        return detail
    return "The endpoint cannot read this photo: send another file."


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
