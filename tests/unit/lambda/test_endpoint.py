from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from support.lambda_function import JPEG, PREDICTIONS, Reply, Runtime
from whippet_lambda.deadline import Deadline
from whippet_lambda.endpoint import Endpoint, refusal
from whippet_lambda.problem import Problem


def model_error(status: int, message: str) -> Reply:
    return Reply(
        424,
        {"Message": "Received client error", "OriginalStatusCode": status, "OriginalMessage": message},
        "ModelError",
    )


def invoke(runtime: Runtime, seconds: float = 30) -> dict[str, Any]:
    return runtime.endpoint().invoke(JPEG, "image/jpeg", None, soon(seconds))


def soon(seconds: float) -> Deadline:
    return Deadline(time.monotonic() + seconds)


def problem_of(runtime: Runtime, seconds: float = 30) -> Problem:
    with pytest.raises(Problem) as raised:
        invoke(runtime, seconds)
    return raised.value


def test_the_sdks_own_server_understands_the_request() -> None:
    """moto's SageMaker runtime, in this process."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        environment = {
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }
        with pytest.raises(Problem, match="failed to answer") as raised:
            Endpoint.from_environment("breeds", environment).invoke(b"photo", "image/jpeg", 3, soon(30))
    finally:
        server.stop()
    assert raised.value.cause == "the container's answer has no predictions"  # moto answers every endpoint with `body`


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu-central-1", "https://runtime.sagemaker.eu-central-1.amazonaws.com"),
        ("cn-north-1", "https://runtime.sagemaker.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_without_an_address_it_is_the_regions_own(region: str, url: str) -> None:
    environment = {"AWS_REGION": region, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    assert Endpoint.from_environment("breeds", environment).url == url


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_what_the_container_says_of_a_photo_is_passed_on(runtime: Runtime, status: int) -> None:
    detail = "The photo is cut short: send the whole file."
    runtime.replies[:] = [model_error(status, json.dumps({"status": status, "detail": detail}))]
    problem = problem_of(runtime)
    assert (problem.status, problem.detail) == (status, detail)
    assert len(runtime.requests) == 1


@pytest.mark.parametrize(
    "message",
    [
        'Traceback (most recent call last):\n  File "inference.py"',
        json.dumps({"detail": "no access to arn:aws:s3:::models"}),
        json.dumps({"detail": "account 123456789012"}),
        json.dumps({"detail": "x" * 301}),
        json.dumps({"detail": "two\nlines"}),
        json.dumps({"detail": 7}),
        json.dumps(["detail"]),
    ],
)
def test_a_container_that_gives_too_much_away_is_not_quoted(runtime: Runtime, message: str) -> None:
    runtime.replies[:] = [model_error(422, message)]
    assert problem_of(runtime).detail == "The model cannot read this photo: send another file."


@pytest.mark.parametrize(
    "reply",
    [
        Reply(429, {"message": "Rate exceeded"}, "ThrottlingException"),
        Reply(400, {"message": "Rate exceeded"}, "ThrottlingException:http://internal.amazon.com/"),
        model_error(503, "busy"),
        model_error(429, "busy"),
    ],
)
def test_throttling_is_a_429_that_says_when_to_come_back(runtime: Runtime, reply: Reply) -> None:
    runtime.replies[:] = [reply]
    problem = problem_of(runtime)
    assert (problem.status, problem.headers) == (429, {"retry-after": "1"})


@pytest.mark.parametrize(
    "reply",
    [
        Reply(400, {"message": "Endpoint breeds of account 123456789012 not found."}, "ValidationError"),
        Reply(403, {"Message": "User: arn:aws:sts::123456789012:assumed-role/x is not authorized"}, "AccessDenied"),
        model_error(500, "worker died"),
        Reply(200, {"unexpected": True}),
        Reply(200, "text"),
    ],
)
def test_a_fault_behind_the_function_is_a_502_that_keeps_aws_out_of_the_answer(runtime: Runtime, reply: Reply) -> None:
    runtime.replies[:] = [reply]
    problem = problem_of(runtime)
    assert problem.status == 502
    assert "123456789012" not in problem.detail
    assert len(runtime.requests) == 1


def test_a_container_too_slow_for_sagemaker_is_a_504(runtime: Runtime) -> None:
    message = "Your invocation timed out while waiting for a response from container primary."
    document = {"Message": f"Received server error (0) from primary: {message}", "OriginalStatusCode": 0}
    runtime.replies[:] = [Reply(424, {**document, "OriginalMessage": message}, "ModelError")]
    assert problem_of(runtime).status == 504


def test_a_busy_container_is_not_asked_again(runtime: Runtime) -> None:
    runtime.replies[:] = [model_error(503, "busy")]
    assert problem_of(runtime).status == 429
    assert len(runtime.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500, {}, "InternalFailure"),
        Reply(503, {}, "ServiceUnavailable"),
        Reply(429, {}, "TooManyRequestsException"),
        Reply(400, {"message": "Rate exceeded"}, "ThrottlingException"),
    ],
)
def test_a_fault_that_passes_is_tried_once_more(runtime: Runtime, reply: Reply) -> None:
    runtime.replies[:] = [reply, Reply()]
    assert invoke(runtime) == PREDICTIONS
    assert len(runtime.requests) == 2


def test_a_fault_that_stays_is_a_502_after_two_tries(runtime: Runtime) -> None:
    runtime.replies[:] = [Reply(500, {}, "InternalFailure")]
    assert problem_of(runtime).status == 502
    assert len(runtime.requests) == 2


def test_an_endpoint_slower_than_the_time_left_is_a_504(runtime: Runtime) -> None:
    release = threading.Event()
    runtime.replies[:] = [Reply(before=lambda: release.wait(30))]
    try:
        assert problem_of(runtime, seconds=0.2).status == 504
    finally:
        release.set()


def test_without_time_left_nothing_is_sent(runtime: Runtime) -> None:
    assert problem_of(runtime, seconds=-1).status == 504
    assert runtime.requests == []


def test_nobody_listening_is_a_502(runtime: Runtime) -> None:
    runtime.url = "http://127.0.0.1:9"
    assert problem_of(runtime).status == 502


def test_one_connection_serves_call_after_call(runtime: Runtime) -> None:
    endpoint = runtime.endpoint()
    for _ in range(3):
        endpoint.invoke(JPEG, "image/jpeg", None, soon(30))
    assert (endpoint.connections.opened, len(runtime.requests)) == (1, 3)


def test_a_refusals_cause_keeps_what_the_log_needs() -> None:
    problem = refusal(400, "ValidationError:http://internal", b'{"message": "Endpoint breeds not found."}')
    assert (problem.status, problem.cause) == (
        HTTPStatus.BAD_GATEWAY,
        "400 ValidationError: Endpoint breeds not found.",
    )


def test_a_second_try_that_would_come_too_late_is_not_begun(runtime: Runtime) -> None:
    runtime.replies[:] = [Reply(500, {}, "InternalFailure", before=lambda: time.sleep(0.5)), Reply()]

    assert problem_of(runtime, seconds=0.9).status == 502
    assert len(runtime.requests) == 1


def test_second_tries_end_while_everything_fails_and_begin_again_with_answers(runtime: Runtime) -> None:
    endpoint = runtime.endpoint()
    tries: list[int] = []

    def ask() -> None:
        before = len(runtime.requests)
        with suppress(Problem):
            endpoint.invoke(JPEG, "image/jpeg", None, soon(30))
        tries.append(len(runtime.requests) - before)

    runtime.replies[:] = [Reply(500, {}, "InternalFailure")]
    for _ in range(13):
        ask()
    runtime.replies[:] = [Reply()]
    for _ in range(5):
        ask()
    runtime.replies[:] = [Reply(500, {}, "InternalFailure")]
    for _ in range(2):
        ask()

    assert tries == [2] * 10 + [1] * 3 + [1] * 5 + [2, 1]


def test_the_same_photo_asked_about_twice_gets_the_same_answer(runtime: Runtime) -> None:
    endpoint = runtime.endpoint()

    answers = [endpoint.invoke(JPEG, "image/jpeg", 3, soon(30)) for _ in range(2)]

    assert answers[0] == answers[1]
    assert [(path, body) for path, _, body in runtime.requests] == [("/endpoints/breeds/invocations", JPEG)] * 2
