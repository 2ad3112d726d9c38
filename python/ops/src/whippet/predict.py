"""Asks the deployed Lambda about photos, as any of its callers would."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


@dataclass(frozen=True)
class Prediction:
    """A class name and its probability, between 0 and 1."""

    label: str
    score: float


@dataclass(frozen=True)
class Answer:
    """What the Lambda answered.

    Attributes:
        status: the HTTP status of the answer; 200 where there are predictions, 429 also where Lambda itself throttled.
        predictions: best first; empty unless the status is 200.
        detail: what went wrong, in the problem document's words; empty when nothing did.
        seconds: the time from the call to the answer.
    """

    status: int
    predictions: tuple[Prediction, ...]
    detail: str
    seconds: float

    @property
    def label(self) -> str | None:
        """The most probable class."""
        return self.predictions[0].label if self.predictions else None


def ask(client: LambdaClient, function_name: str, photo: bytes, top_k: int = 5) -> Answer:
    """Invokes the Lambda with one photo.

    Args:
        client: of the `lambda` service.
        function_name: the deployed function.
        photo: an encoded picture; at most about 4.5 MB, since Lambda takes 6 MB of JSON.
        top_k: how many classes to return.

    Raises:
        botocore.exceptions.ClientError: the call was refused for a reason other than throttling.
    """
    event = {"image": base64.b64encode(photo).decode(), "top_k": top_k}
    started = time.perf_counter()
    try:
        response = client.invoke(FunctionName=function_name, Payload=json.dumps(event).encode())
    except client.exceptions.TooManyRequestsException as error:
        return Answer(429, (), str(error), time.perf_counter() - started)
    payload = json.loads(response["Payload"].read())
    return _read(payload, response.get("FunctionError"), time.perf_counter() - started)


def _read(payload: Any, function_error: str | None, seconds: float) -> Answer:
    if function_error or not isinstance(payload, dict) or "statusCode" not in payload:
        message = payload.get("errorMessage") if isinstance(payload, dict) else None
        return Answer(500, (), f"the function failed: {message or function_error or 'unknown answer'}", seconds)
    body = json.loads(payload["body"])
    predictions = tuple(Prediction(item["label"], item["score"]) for item in body.get("predictions", ()))
    return Answer(payload["statusCode"], predictions, body.get("detail", ""), seconds)
