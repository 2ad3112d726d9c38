import base64
import io
import json
from typing import Any

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

from whippet.predict import Prediction, ask

PHOTO = b"\xff\xd8photo"


@pytest.fixture
def client() -> Any:
    return boto3.client("lambda", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")


def payload(document: Any) -> StreamingBody:
    raw = json.dumps(document).encode()
    return StreamingBody(io.BytesIO(raw), len(raw))


def answering(client: Any, document: Any, **more: Any) -> Stubber:
    event = {"image": base64.b64encode(PHOTO).decode(), "top_k": 2}
    stubber = Stubber(client)
    stubber.add_response(
        "invoke",
        {"StatusCode": 200, "Payload": payload(document), **more},
        {"FunctionName": "breeds", "Payload": json.dumps(event).encode()},
    )
    return stubber


def test_predictions_come_back_in_order(client: Any) -> None:
    body = {"predictions": [{"label": "Pug", "score": 0.9}, {"label": "Boxer", "score": 0.1}]}
    with answering(client, {"statusCode": 200, "body": json.dumps(body)}):
        answer = ask(client, "breeds", PHOTO, top_k=2)
    assert (answer.status, answer.label) == (200, "Pug")
    assert answer.predictions == (Prediction("Pug", 0.9), Prediction("Boxer", 0.1))


def test_a_problem_document_keeps_its_status_and_detail(client: Any) -> None:
    body = {"title": "Unsupported Media Type", "status": 415, "detail": "Send a JPEG, PNG or WebP picture."}
    with answering(client, {"statusCode": 415, "body": json.dumps(body)}):
        answer = ask(client, "breeds", PHOTO, top_k=2)
    assert (answer.status, answer.label) == (415, None)
    assert answer.detail == "Send a JPEG, PNG or WebP picture."


def test_lambdas_own_throttling_is_a_429(client: Any) -> None:
    stubber = Stubber(client)
    stubber.add_client_error("invoke", "TooManyRequestsException", "Rate Exceeded.", 429)
    with stubber:
        answer = ask(client, "breeds", PHOTO)
    assert (answer.status, answer.predictions) == (429, ())


@pytest.mark.parametrize("document", [{"errorMessage": "Task timed out after 30.00 seconds"}, None, "x"])
def test_a_function_that_failed_is_a_500_and_not_an_exception(client: Any, document: Any) -> None:
    with answering(client, document, FunctionError="Unhandled"):
        answer = ask(client, "breeds", PHOTO, top_k=2)
    assert (answer.status, answer.label) == (500, None)
    assert "function failed" in answer.detail
