"""InvokeEndpoint: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html."""

from __future__ import annotations

import logging
import time
import uuid

from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call
from whippet.local.endpoints.capture import Captures, Payload, is_enabled
from whippet.local.endpoints.connections import (
    Answer,
    AnswerTimeoutError,
    AnswerTooLargeError,
    NoAnswerError,
    NotSentError,
)
from whippet.local.endpoints.endpoint import Endpoint
from whippet.local.endpoints.fleet import NoInstanceError, Route, UnknownVariantError
from whippet.local.endpoints.instances import MAX_BODY_BYTES, Health
from whippet.local.endpoints.launching import log_group
from whippet.local.endpoints.metering import note_invocation
from whippet.local.monitoring.metrics import Metrics
from whippet.local.settings import ACCOUNT

log = logging.getLogger(__name__)

#: Headers of an invocation that the container sees, and headers of its answer that the caller sees.
REQUEST_HEADERS = ("Content-Type", "Accept", "X-Amzn-SageMaker-Custom-Attributes", "X-Amzn-SageMaker-Inference-Id")
RESPONSE_HEADERS = ("Content-Type", "X-Amzn-SageMaker-Custom-Attributes")
CUSTOM_ATTRIBUTES, INFERENCE_ID = "X-Amzn-SageMaker-Custom-Attributes", "X-Amzn-SageMaker-Inference-Id"
#: What SageMaker assumes where the caller names no type.
DEFAULT_CONTENT_TYPE = "application/octet-stream"
#: What AWS calls the container of a model that has one.
CONTAINER = "primary"
#: https://sagemaker.readthedocs.io/en/stable/api/sagemaker_serve.html
TIMED_OUT = (
    f"Your invocation timed out while waiting for a response from container {CONTAINER}. Review the latency metrics "
    "for each container in Amazon CloudWatch, resolve the issue, and try again."
)


def invoke(call: Call, endpoint: Endpoint | None, metrics: Metrics, captures: Captures) -> Response:
    """Passes an invocation on to an instance.

    Raises:
        AwsError: it is refused, nobody can answer it, or the container failed.
    """
    received_at = time.perf_counter()
    body, headers = call.body, call.request.headers
    if len(body) > MAX_BODY_BYTES:
        # In plain text, which SDKs make an error with the code 413 of:
        # https://github.com/aws/sagemaker-python-sdk/issues/171
        return Response(f"HTTP content length exceeded {MAX_BODY_BYTES} bytes.", 413, content_type="text/plain")
    name, target = call.labels["EndpointName"], headers.get("X-Amzn-SageMaker-Target-Variant")
    if endpoint is None or not endpoint.traffic.fleets:
        raise AwsError("ValidationError", f"Endpoint {name} of account {call.account} not found.")
    passed_on = {header: value for header in REQUEST_HEADERS if (value := headers.get(header)) is not None}
    route, answer, error, seconds = _ask(endpoint, target, body, passed_on)
    status = answer.status if answer is not None else None
    if answer is not None and not 200 <= answer.status < 300:
        error = _model_error(endpoint, answer.status, answer.body.decode(errors="replace"))
    note_invocation(metrics, endpoint, route, status=status, model=seconds, total=time.perf_counter() - received_at)
    if answer is None or error is not None:
        raise error or AwsError("InternalFailure", "No answer.")
    variant = route.group.variant
    if is_enabled(config := endpoint.deployed.capture):
        captures.note(
            config or {},
            endpoint.name,
            variant.name,
            variant.role_arn,
            Payload(passed_on.get("Content-Type", DEFAULT_CONTENT_TYPE), body),
            Payload(answer.headers.get("Content-Type", DEFAULT_CONTENT_TYPE), answer.body),
            {
                "customAttributes": [passed_on[CUSTOM_ATTRIBUTES]] if CUSTOM_ATTRIBUTES in passed_on else None,
                "inferenceId": passed_on.get(INFERENCE_ID),
            },
        )
    passed_back = {header: answer.headers[header] for header in RESPONSE_HEADERS if header in answer.headers}
    told = {"x-Amzn-Invoked-Production-Variant": variant.name, "x-amzn-RequestId": str(uuid.uuid4())}
    return Response(answer.body, 200, {**passed_back, **told})


def _ask(
    endpoint: Endpoint, target: str | None, body: bytes, headers: dict[str, str]
) -> tuple[Route, Answer | None, AwsError | None, float]:
    """Asks an instance, and another one only where the first has certainly not seen the request."""
    while True:
        try:
            route = endpoint.traffic.acquire(target)
        except UnknownVariantError:
            raise AwsError("ValidationError", f"Variant {target} of endpoint {endpoint.name} not found.") from None
        except NoInstanceError:
            raise AwsError("ServiceUnavailable", "The service is unavailable. Try your call again.") from None
        began_at = time.perf_counter()
        answer, error = None, None
        try:
            answer = route.instance.invoke(body, headers)
        except NotSentError:
            endpoint.traffic.doubt(route.instance, Health.DOWN)
            continue
        except AnswerTimeoutError:
            endpoint.traffic.doubt(route.instance, Health.SUSPECT)
            error = _model_error(endpoint, 0, TIMED_OUT)
        except NoAnswerError as broken_off:
            log.warning("endpoint %s: instance %s: %s", endpoint.name, route.instance.id, broken_off)
            endpoint.traffic.doubt(route.instance, Health.SUSPECT)
            error = _model_error(
                endpoint, 0, f"Amazon SageMaker could not get a response from the {endpoint.name} endpoint."
            )
        except AnswerTooLargeError:
            error = _model_error(endpoint, 0, f"The answer exceeds {MAX_BODY_BYTES} bytes.")
        finally:
            endpoint.traffic.release(route)
        return route, answer, error, time.perf_counter() - began_at


def _model_error(endpoint: Endpoint, status: int, message: str) -> AwsError:
    """The 424 with which AWS tells a caller that the container failed."""
    group = log_group(endpoint.name)
    kind = "client" if 400 <= status < 500 else "server"
    console = f"https://{endpoint.region}.console.aws.amazon.com/cloudwatch/home?region={endpoint.region}"
    text = (
        f'Received {kind} error ({status}) from {CONTAINER} with message "{message}". '
        f"See {console}#logEventViewer:group={group} in account {ACCOUNT} for more information."
    )
    return AwsError(
        "ModelError",
        text,
        members={
            "ErrorCode": "CLIENT_ERROR_FROM_MODEL" if kind == "client" else "INTERNAL_FAILURE_FROM_MODEL",
            "OriginalStatusCode": status,
            "OriginalMessage": message,
            "LogStreamArn": f"arn:aws:logs:{endpoint.region}:{ACCOUNT}:log-group:{group}",
        },
    )
