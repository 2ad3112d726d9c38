"""Answers an event: gets the photo, asks the endpoint, turns every failure into a problem document, logs one line."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol

from whippet_lambda import event as events
from whippet_lambda import photo as photos
from whippet_lambda.config import Config, ConfigError
from whippet_lambda.deadline import Deadline
from whippet_lambda.metrics import embedded
from whippet_lambda.problem import Problem

#: Turns an event into predictions until a deadline, and notes what the log may say of it.
Predict = Callable[[Any, Deadline, dict[str, Any]], dict[str, Any]]


class Classifier(Protocol):
    """What answers for photos."""

    def invoke(
        self, photo: bytes, content_type: str, top_k: int | None, deadline: Deadline, on_retry: Callable[[], None]
    ) -> dict[str, Any]:
        """Asks about one photo; see `whippet_lambda.endpoint.Endpoint.invoke`."""


def answer(event: Any, context: Any, predict: Predict, metrics_namespace: str = "") -> dict[str, Any]:
    """Answers one event; never raises.

    Args:
        event: `{"image": base64}`, `{"s3": address}`, `{"url": address}`, or a request by Function URL or HTTP API.
        context: Lambda's; its remaining time bounds the call.
        predict: What to ask: a `predictor`.
        metrics_namespace: Of the metrics in the log; an empty one means none.

    Returns:
        `statusCode`, `headers` and `body`: predictions as JSON, or a problem document.
    """
    started = time.monotonic()
    facts: dict[str, Any] = {"request_id": context.aws_request_id}
    try:
        deadline = Deadline.from_context(context)
        status, body = HTTPStatus.OK, deadline.bound(lambda: predict(event, deadline, facts), "The answer")
        headers = {"content-type": "application/json"}
    except Exception as error:
        problem = error if isinstance(error, Problem) else defect(error)
        status, body = problem.status, problem.document()
        headers = {"content-type": "application/problem+json", **problem.headers}
        facts["cause"] = problem.cause or problem.detail
    seconds = time.monotonic() - started
    name = context.function_name
    log(status, facts, seconds, embedded(metrics_namespace, name, time.time(), status, seconds, facts))
    body["request_id"] = context.aws_request_id
    return {"statusCode": int(status), "headers": headers, "body": json.dumps(body)}


def predictor(config: Config, classifier: Classifier) -> Predict:
    """Gets the photo that an event names and asks about it; raises Problem where that does not succeed."""

    def predict(event: Any, deadline: Deadline, facts: dict[str, Any]) -> dict[str, Any]:
        request = events.parse(event)
        facts["source"] = request.source
        photo = photos.read(request, config, deadline)
        facts["bytes"] = len(photo)

        def note_retry() -> None:
            facts["retries"] = facts.get("retries", 0) + 1

        return classifier.invoke(photo, photos.content_type(photo), request.top_k, deadline, note_retry)

    return predict


def not_set_up(error: ConfigError) -> Predict:
    """Tells every caller what the function's environment lacks.

    An exception while Lambda loads the function would show its stack trace to the caller instead.
    """
    detail = f"The function is not set up. {error}"
    cause = f"{error} {error.__cause__ or ''}".strip()

    def predict(event: Any, deadline: Deadline, facts: dict[str, Any]) -> dict[str, Any]:
        raise Problem(HTTPStatus.BAD_GATEWAY, detail, cause=cause)

    return predict


def defect(error: Exception) -> Problem:
    """The answer to an error in the function itself.

    The caller learns nothing of it. The log gets its type and place, but not its text, in which a photo may stand.
    """
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    cause = f"{type(error).__name__} at {frame.f_code.co_name}:{line}"
    return Problem(HTTPStatus.BAD_GATEWAY, "The function failed. Try again; if it lasts, tell its owner.", cause=cause)


def log(status: HTTPStatus, facts: dict[str, Any], seconds: float, metrics: dict[str, Any]) -> None:
    """Writes one line of JSON, which CloudWatch reads by field, and its metrics; no photo, no address, no caller."""
    # facts are copied, since work that was given up may still add to them.
    level = "ERROR" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "INFO"
    line = {"level": level, "status": int(status), "ms": round(seconds * 1000, 1), **facts, **metrics}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
