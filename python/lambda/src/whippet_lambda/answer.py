"""Answers an event: gets the photo, asks the endpoint, turns every failure into a problem document, logs one line."""

from __future__ import annotations

import json
import sys
import time
import traceback
from http import HTTPStatus
from typing import Any

from whippet_lambda import event as events
from whippet_lambda import photo as photos
from whippet_lambda.config import Config
from whippet_lambda.deadline import Deadline
from whippet_lambda.endpoint import Endpoint
from whippet_lambda.problem import Problem


def answer(event: Any, context: Any, config: Config, endpoint: Endpoint) -> dict[str, Any]:
    """Answers one event; never raises.

    Args:
        event: `{"image": base64}`, `{"s3": address}`, `{"url": address}`, or a request by Function URL or HTTP API.
        context: Lambda's; its remaining time bounds every wait.
        config: The function's settings.
        endpoint: The endpoint to ask.

    Returns:
        `statusCode`, `headers` and `body`: predictions as JSON, or a problem document.
    """
    started = time.monotonic()
    facts: dict[str, Any] = {"request_id": context.aws_request_id}
    try:
        status, body = HTTPStatus.OK, predict(event, Deadline.from_context(context), config, endpoint, facts)
        headers = {"content-type": "application/json"}
    except Exception as error:
        problem = error if isinstance(error, Problem) else defect(error)
        status, body = problem.status, problem.document()
        headers = {"content-type": "application/problem+json", **problem.headers}
        facts["cause"] = problem.cause or problem.detail
    log(status, facts, time.monotonic() - started)
    body["request_id"] = context.aws_request_id
    return {"statusCode": int(status), "headers": headers, "body": json.dumps(body)}


def predict(
    event: Any, deadline: Deadline, config: Config, endpoint: Endpoint, facts: dict[str, Any]
) -> dict[str, Any]:
    """Gets the photo that an event names and asks the endpoint about it.

    Args:
        event: What the caller sent.
        deadline: When the answer must be there.
        config: The function's settings.
        endpoint: The endpoint to ask.
        facts: Takes up what the log may say of the request.

    Raises:
        Problem: The request ends without a prediction.
    """
    request = events.parse(event)
    facts["source"] = request.source
    photo = photos.read(request, config, deadline)
    facts["bytes"] = len(photo)
    return endpoint.invoke(photo, photos.content_type(photo), request.top_k, deadline)


def defect(error: Exception) -> Problem:
    """The answer to an error in the function itself.

    The caller learns nothing of it. The log gets its type and place, but not its text, in which a photo may stand.
    """
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    cause = f"{type(error).__name__} at {frame.f_code.co_name}:{line}"
    return Problem(HTTPStatus.BAD_GATEWAY, "The function failed. Try again; if it lasts, tell its owner.", cause=cause)


def log(status: HTTPStatus, facts: dict[str, Any], seconds: float) -> None:
    """Writes one line of JSON, which CloudWatch Logs Insights reads by field; no photo, no address, no caller."""
    level = "ERROR" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "INFO"
    line = {"level": level, "status": int(status), "ms": round(seconds * 1000, 1), **facts}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
