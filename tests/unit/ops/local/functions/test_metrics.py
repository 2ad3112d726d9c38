"""The metrics of functions: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

FUNCTION = {"FunctionName": "function"}
#: Fails, and waits for a file, as the event says.
SOURCE = """
import os, time
def handler(event, context):
    while event.get("gate") and not os.path.exists(event["gate"]):
        time.sleep(0.01)
    time.sleep(event.get("seconds", 0))
    return 1 / (1 - event.get("fails", 0))
"""


@dataclass
class Metrics:
    """What CloudWatch tells of functions."""

    local_aws: Any

    def of(self, name: str, statistic: str, dimensions: dict[str, str]) -> float | None:
        """One number of the last hours; None where there is no such metric."""
        now = self.local_aws.gateway.clock.now()
        points = self.local_aws.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName=name,
            Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
            StartTime=now - timedelta(hours=2),
            EndTime=now + timedelta(hours=2),
            Period=3600,
            Statistics=[statistic],
        )["Datapoints"]
        values: list[float] = [point[statistic] for point in points]
        if not values or statistic in ("Sum", "SampleCount"):
            return sum(values) if values else None
        return max(values) if statistic == "Maximum" else min(values)

    def unit(self, name: str) -> str:
        """The unit of a metric of the function."""
        now = self.local_aws.gateway.clock.now()
        [point, *_] = self.local_aws.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName=name,
            Dimensions=[{"Name": "FunctionName", "Value": "function"}],
            StartTime=now - timedelta(hours=2),
            EndTime=now + timedelta(hours=2),
            Period=3600,
            Statistics=["Maximum"],
        )["Datapoints"]
        return str(point["Unit"])


@pytest.fixture
def metrics(local_aws: Any) -> Metrics:
    local_aws.create_function(SOURCE, Timeout=60)
    return Metrics(local_aws)


def resource(qualifier: str) -> dict[str, str]:
    return {**FUNCTION, "Resource": f"function:{qualifier}" if qualifier else "function"}


def test_invocations_errors_and_durations_are_counted(function: Any, metrics: Metrics) -> None:
    function.invoke({"seconds": 0.1})
    function.fail({"fails": 1})
    for dimensions in ({}, FUNCTION, resource("")):
        assert metrics.of("Invocations", "Sum", dimensions) == 2
        assert metrics.of("Errors", "Sum", dimensions) == 1
        assert metrics.of("Errors", "SampleCount", dimensions) == 2  # so that their average is the error rate
        assert metrics.of("Duration", "SampleCount", dimensions) == 2
        longest = metrics.of("Duration", "Maximum", dimensions)
        assert longest is not None
        assert longest >= 100
        assert metrics.of("Throttles", "Sum", dimensions) is None
    assert [metrics.unit(name) for name in ("Invocations", "Errors", "Duration", "ConcurrentExecutions")] == [
        "Count",
        "Count",
        "Milliseconds",
        "Count",
    ]


def test_throttled_calls_are_no_invocations(function: Any, metrics: Metrics) -> None:
    function.api.put_function_concurrency(FunctionName="function", ReservedConcurrentExecutions=0)
    for _ in range(2):
        function.refused(function.invoke, {})
    assert metrics.of("Throttles", "Sum", FUNCTION) == 2
    assert metrics.of("Invocations", "Sum", FUNCTION) is None
    assert metrics.of("Errors", "Sum", FUNCTION) is None


def test_concurrent_executions_are_told(local_aws: Any, function: Any, metrics: Metrics, tmp_path: Path) -> None:
    local_aws.create_function(SOURCE, name="other")
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(function.invoke, {"gate": str(gate)}) for _ in range(2)]
        local_aws.eventually(lambda: function.environments() == (2, 2))
        type(function)(local_aws, "other").invoke({})
        gate.touch()
        assert [call.result() for call in calls] == [1.0, 1.0]
    assert metrics.of("ConcurrentExecutions", "Maximum", FUNCTION) == 2
    assert metrics.of("ConcurrentExecutions", "Maximum", {"FunctionName": "other"}) == 1
    assert metrics.of("ConcurrentExecutions", "Maximum", {}) == 3
    assert metrics.of("UnreservedConcurrentExecutions", "Maximum", {}) == 3


def test_functions_with_a_reservation_use_nothing_that_is_unreserved(function: Any, metrics: Metrics) -> None:
    function.api.put_function_concurrency(FunctionName="function", ReservedConcurrentExecutions=5)
    function.invoke({})
    assert metrics.of("ConcurrentExecutions", "Maximum", {}) == 1
    assert metrics.of("UnreservedConcurrentExecutions", "Maximum", {}) == 0


def test_an_alias_is_told_by_the_version_that_has_run_too(function: Any, metrics: Metrics) -> None:
    version = function.publish()
    function.api.create_alias(FunctionName="function", Name="live", FunctionVersion=version)
    function.invoke({}, Qualifier="live")
    function.invoke({}, Qualifier=version)
    assert metrics.of("Invocations", "Sum", FUNCTION) == 2
    assert metrics.of("Invocations", "Sum", resource("live")) == 1
    assert metrics.of("Invocations", "Sum", {**resource("live"), "ExecutedVersion": version}) == 1
    assert metrics.of("Invocations", "Sum", resource(version)) == 1
    assert metrics.of("Invocations", "Sum", {**resource(version), "ExecutedVersion": version}) is None


def test_provisioned_concurrency_is_told(local_aws: Any, function: Any, metrics: Metrics, tmp_path: Path) -> None:
    version = function.publish()
    asked = {"FunctionName": "function", "Qualifier": version}
    function.api.put_provisioned_concurrency_config(**asked, ProvisionedConcurrentExecutions=2)
    local_aws.eventually(lambda: function.api.get_provisioned_concurrency_config(**asked)["Status"] == "READY")
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(3) as pool:
        for number in range(1, 4):
            pool.submit(function.invoke, {"gate": str(gate)}, Qualifier=version)
            local_aws.eventually(lambda wanted=number: function.environments()[1] == wanted)
        gate.touch()
    for dimensions in (FUNCTION, resource(version)):
        assert metrics.of("ProvisionedConcurrentExecutions", "Maximum", dimensions) == 2
        assert metrics.of("ProvisionedConcurrencyUtilization", "Minimum", dimensions) == 0.5
        assert metrics.of("ProvisionedConcurrencyUtilization", "Maximum", dimensions) == 1
        assert metrics.of("ProvisionedConcurrencyInvocations", "Sum", dimensions) == 2
        assert metrics.of("ProvisionedConcurrencySpilloverInvocations", "Sum", dimensions) == 1


def test_asynchronous_events_are_told(function: Any, metrics: Metrics) -> None:
    function.api.put_function_event_invoke_config(FunctionName="function", MaximumRetryAttempts=0)
    for event in ({}, {"fails": 1}):
        function.answer(event, InvocationType="Event")
    metrics.local_aws.eventually(lambda: metrics.of("AsyncEventsDropped", "Sum", FUNCTION) == 1)
    metrics.local_aws.eventually(lambda: metrics.of("Invocations", "Sum", FUNCTION) == 2)
    assert metrics.of("AsyncEventsReceived", "Sum", FUNCTION) == 2
    assert metrics.of("AsyncEventAge", "SampleCount", FUNCTION) == 2


def test_a_dry_run_is_not_told(function: Any, metrics: Metrics) -> None:
    function.answer(InvocationType="DryRun")
    assert metrics.of("Invocations", "Sum", {}) is None
