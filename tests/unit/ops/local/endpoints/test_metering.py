from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from whippet.local.clock import Clock
from whippet.local.endpoints.metering import Metering
from whippet.local.monitoring.metrics import Metrics

VARIANT = {"EndpointName": "endpoint", "VariantName": "main"}


def values(
    local_aws: Any,
    name: str,
    statistic: str = "Sum",
    namespace: str = "AWS/SageMaker",
    period: int = 3600,
    unit: str | None = None,
    **dimensions: str,
) -> list[float]:
    """The datapoints of a metric of the variant, within the last two hours."""
    named = [{"Name": key, "Value": value} for key, value in {**VARIANT, **dimensions}.items()]
    metric = {"Namespace": namespace, "MetricName": name, "Dimensions": named}
    stat = {"Metric": metric, "Period": period, "Stat": statistic, **({"Unit": unit} if unit else {})}
    now = local_aws.gateway.clock.now()
    found = local_aws.client("cloudwatch").get_metric_data(
        MetricDataQueries=[{"Id": "m", "MetricStat": stat}],
        StartTime=now - timedelta(hours=2),
        EndTime=now + timedelta(hours=1),
    )
    points: list[float] = found["MetricDataResults"][0]["Values"]
    return points


def total(local_aws: Any, name: str, **options: Any) -> float:
    return sum(values(local_aws, name, **options))


def test_each_invocation_is_counted(local_aws: Any, endpoint: Any) -> None:
    local_aws.create_endpoint(InitialInstanceCount=2)
    for body in (b"photo", b"photo", b"fail 400", b"fail 503"):
        try:
            endpoint.invoke(body)
        except ClientError:
            assert body.startswith(b"fail")
    for dimensions in ({}, {"EndpointConfigName": "endpoint-config"}):
        expected = {
            "Invocations": 4.0,
            "InvocationsPerInstance": 2.0,
            "Invocation4XXErrors": 1.0,
            "Invocation5XXErrors": 1.0,
            "InvocationModelErrors": 2.0,
        }
        found = {name: total(local_aws, name, unit="None", **dimensions) for name in expected}
        assert found == expected
        assert sum(values(local_aws, "Invocation4XXErrors", "SampleCount", **dimensions)) == 4.0


def test_latencies_are_in_microseconds(local_aws: Any, endpoint: Any) -> None:
    local_aws.create_endpoint()
    endpoint.invoke(b"sleep 0.3")
    [model] = values(local_aws, "ModelLatency", "Maximum", unit="Microseconds")
    assert model >= 300_000
    [overhead] = values(local_aws, "OverheadLatency", "Maximum", unit="Microseconds")
    assert 0 < overhead < model


def test_a_container_that_does_not_answer_is_a_model_error(local_aws: Any, endpoint: Any) -> None:
    local_aws.create_endpoint()
    with pytest.raises(ClientError):
        endpoint.invoke(b"die")
    assert total(local_aws, "InvocationModelErrors") == 1.0
    assert total(local_aws, "Invocation5XXErrors") == 1.0


def test_what_never_reached_a_container_is_no_invocation(local_aws: Any, endpoint: Any) -> None:
    local_aws.create_endpoint()
    with pytest.raises(ClientError):
        endpoint.invoke(TargetVariant="other")
    assert values(local_aws, "Invocations") == []


def test_concurrency_is_told_every_ten_seconds_for_each_instance(
    local_aws: Any, endpoint: Any, fast_clock: Clock
) -> None:
    local_aws.create_endpoint(InitialInstanceCount=2)

    def told() -> list[float]:
        return values(local_aws, "ConcurrentRequestsPerModel", "Average", period=10, unit="None")

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(endpoint.invoke, b"sleep 1") for _ in range(2)]
        local_aws.eventually(lambda: pytest.approx(1.0) in told())
        for call in calls:
            call.result()
    counts = values(local_aws, "ConcurrentRequestsPerModel", "SampleCount", period=10)
    assert set(counts[1:-1]) == {2.0}


def test_an_idle_minute_counts_as_no_invocations(local_aws: Any, endpoint: Any, fast_clock: Clock) -> None:
    local_aws.create_endpoint()
    endpoint.invoke(b"photo")
    local_aws.eventually(lambda: values(local_aws, "InvocationsPerInstance", period=60).count(0.0) > 2)
    for name in ("Invocations", "InvocationsPerInstance"):
        # One value a minute: none is added to the minute of the invocation.
        assert set(values(local_aws, name, "SampleCount", period=60)) == {1.0}
        assert total(local_aws, name) == 1.0


def test_utilization_is_told_every_minute(local_aws: Any, endpoint: Any, fast_clock: Clock) -> None:
    local_aws.create_endpoint()

    def told() -> bool:
        return all(
            values(local_aws, name, "Average", namespace="/aws/sagemaker/Endpoints", period=60, unit="Percent")
            for name in ("CPUUtilization", "MemoryUtilization", "DiskUtilization")
        )

    local_aws.eventually(told)
    [memory, *_] = values(local_aws, "MemoryUtilization", "Maximum", namespace="/aws/sagemaker/Endpoints")
    assert 0 < memory < 100


def test_no_period_goes_without_a_value_where_the_machine_was_too_busy(local_aws: Any) -> None:
    local_aws.create_endpoint()
    seconds = [0.0]
    clock = Clock(starts_at=6000.0, monotonic=lambda: seconds[0])
    metrics = Metrics(clock)
    endpoints = local_aws.gateway._endpoints._endpoints
    metering = Metering(clock, metrics, lambda: list(endpoints.values()), local_aws.settings.home)
    metering.start()
    seconds[0] = 125.0

    def starts(name: str, period: int) -> list[int]:
        return list(metrics.query("us-east-1", "AWS/SageMaker", name, VARIANT, 6000.0, 6180.0, period))

    try:
        local_aws.eventually(lambda: starts("ConcurrentRequestsPerModel", 10) == list(range(6000, 6120, 10)))
        local_aws.eventually(lambda: starts("InvocationsPerInstance", 60) == [6000, 6060])
    finally:
        metering.stop()
