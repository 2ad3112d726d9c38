from __future__ import annotations

import json
from typing import Any

import pytest

from support.lambda_function import JPEG, Context, Reply, Runtime, image_event
from whippet_lambda.answer import answer, predictor
from whippet_lambda.config import Config, ConfigError

CANARY = "canary@example.org"


def line_of(
    event: Any, config: Config, runtime: Runtime, capsys: pytest.CaptureFixture[str], namespace: str = "Dogs"
) -> dict[str, Any]:
    config = config._replace(metrics_namespace=namespace)
    answer(event, Context(), predictor(config, runtime.endpoint()), config.metrics_namespace)
    [line] = capsys.readouterr().out.splitlines()
    document: dict[str, Any] = json.loads(line)
    return document


def test_each_metric_of_the_directive_is_a_number_of_the_line(
    config: Config, runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    line = line_of(image_event(), config, runtime, capsys)

    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Dogs"
    assert directive["Dimensions"] == [["FunctionName"]]
    assert line["FunctionName"] == Context.function_name
    assert {type(line[metric["Name"]]) for metric in directive["Metrics"]} <= {int, float}
    assert len(str(line["_aws"]["Timestamp"])) == 13  # milliseconds
    assert line["Latency"] == line["ms"] > 0
    assert line["PhotoBytes"] == len(JPEG)


@pytest.mark.parametrize(
    ("replies", "event", "counted"),
    [
        ([Reply()], image_event(), {}),
        ([Reply(500, {}, "InternalFailure"), Reply()], image_event(), {"Retries": 1}),
        ([Reply(500, {}, "InternalFailure")], image_event(), {"Retries": 1, "ServerErrors": 1}),
        ([Reply(429, {}, "ThrottlingException")], image_event(), {"Retries": 1, "Throttles": 1}),
        ([Reply()], {"image": "%%%"}, {"CallerErrors": 1}),
    ],
)
def test_it_counts_what_became_of_a_call(
    config: Config,
    runtime: Runtime,
    capsys: pytest.CaptureFixture[str],
    replies: list[Reply],
    event: Any,
    counted: dict[str, int],
) -> None:
    runtime.replies[:] = replies

    line = line_of(event, config, runtime, capsys)

    names = ("Retries", "Throttles", "CallerErrors", "ServerErrors")
    assert {name: line[name] for name in names if line[name]} == counted


def test_without_a_namespace_there_are_none(
    config: Config, runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "_aws" not in line_of(image_event(), config, runtime, capsys, namespace="")


@pytest.mark.parametrize("name", ["AWS/Lambda", "a b", "x" * 256, "a;b"])
def test_a_namespace_that_cloudwatch_refuses_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(ConfigError, match="WHIPPET_METRICS_NAMESPACE"):
        Config.from_environment({"WHIPPET_ENDPOINT_NAME": "breeds", "WHIPPET_METRICS_NAMESPACE": name})


@pytest.mark.parametrize(
    "event",
    [
        {"image": CANARY},
        {"image": "%%%", "comment": CANARY},
        {"s3": f"s3://bucket/{CANARY}", CANARY: 1},
        {"s3": CANARY},
        {"url": f"https://{CANARY}/x"},
        {"url": f"https://images.example.org.invalid/{CANARY}"},
        {"image": "", "top_k": CANARY},
        {
            "version": "2.0",
            "requestContext": {"http": {"method": "POST", "sourceIp": CANARY, "userAgent": CANARY}},
            "headers": {"x-forwarded-for": CANARY, "cookie": CANARY, "authorization": CANARY},
            "rawQueryString": CANARY,
            "queryStringParameters": {"top_k": CANARY},
            "body": CANARY,
            "isBase64Encoded": False,
        },
    ],
)
def test_no_line_holds_what_a_caller_sent(
    config: Config, runtime: Runtime, capsys: pytest.CaptureFixture[str], event: dict[str, Any]
) -> None:
    assert CANARY not in json.dumps(line_of(event, config, runtime, capsys))
