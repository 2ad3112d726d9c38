from __future__ import annotations

import math
from typing import Any

import pytest

from whippet.local.calls import AwsError
from whippet.local.endpoints import policy


def routed(kind: str, size: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    member = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}.get(kind, "")
    routing = {"Type": kind, "WaitIntervalInSeconds": 60, **({member: size} if size else {})}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, **more}}


def rolling(size: dict[str, Any]) -> dict[str, Any]:
    return {"RollingUpdatePolicy": {"MaximumBatchSize": size, "WaitIntervalInSeconds": 60}}


def percent(value: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def instances(value: int) -> dict[str, Any]:
    return {"Type": "INSTANCE_COUNT", "Value": value}


def test_without_a_configuration_all_traffic_shifts_at_once_and_nothing_is_waited_for() -> None:
    read = policy.read(None)
    assert (read.kind, read.wait, read.termination_wait, read.alarms) == ("ALL_AT_ONCE", 0, 0, ())
    assert read.timeout == math.inf


def test_what_a_configuration_says_is_read() -> None:
    config = routed("CANARY", percent(30), TerminationWaitInSeconds=120, MaximumExecutionTimeoutInSeconds=1800)
    read = policy.read(config | {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}, {"AlarmName": "b"}]}})
    assert (read.kind, read.wait, read.termination_wait, read.timeout) == ("CANARY", 60, 120, 1800)
    assert read.alarms == ("a", "b")


@pytest.mark.parametrize(
    ("config", "count", "steps"),
    [
        (None, 3, [3]),
        (routed("ALL_AT_ONCE"), 3, [3]),
        (routed("CANARY", instances(1)), 4, [1, 4]),
        (routed("CANARY", percent(30)), 10, [3, 10]),
        (routed("CANARY", percent(30)), 2, [1, 2]),
        (routed("CANARY", percent(30)), 1, [1]),
        (routed("LINEAR", percent(25)), 4, [1, 2, 3, 4]),
        (routed("LINEAR", percent(33)), 5, [2, 4, 5]),
        (routed("LINEAR", instances(2)), 4, [2, 4]),
    ],
)
def test_the_steps_of_a_shift(config: dict[str, Any] | None, count: int, steps: list[int]) -> None:
    assert policy.steps(policy.read(config), count) == steps


@pytest.mark.parametrize(
    ("old", "new", "done", "left"), [(4, 4, 1, 3), (4, 4, 4, 0), (1, 4, 3, 1), (10, 2, 1, 5), (2, 3, 2, 1)]
)
def test_the_old_fleet_serves_with_as_many_instances_less(old: int, new: int, done: int, left: int) -> None:
    assert policy.left(old, new, done) == left


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (routed("CANARY", percent(51)), "CanarySize must be 0-50%"),
        (routed("LINEAR", percent(9)), "LinearStepSize must be 10-50%"),
        (rolling(percent(4)), "MaximumBatchSize must be 5-50%"),
        (routed("CANARY"), "CanarySize is required"),
        (routed("LINEAR"), "LinearStepSize is required"),
        (routed("ALL_AT_ONCE") | rolling(percent(50)), "Only one of"),
    ],
)
def test_a_configuration_that_no_endpoint_could_have_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(AwsError, match=message):
        policy.check(config)


@pytest.mark.parametrize(
    ("config", "old", "new", "message"),
    [
        (routed("CANARY", instances(2)), {"a": 3}, {"a": 3}, "at most 50% of the 3 instances"),
        (routed("CANARY", instances(1)), {"a": 2}, {"b": 2}, "the same variant names"),
        (rolling(instances(1)), {"a": 2, "b": 2}, {"a": 2, "b": 2}, "one variant"),
    ],
)
def test_a_configuration_that_this_endpoint_cannot_have_is_refused(
    config: dict[str, Any], old: dict[str, int], new: dict[str, int], message: str
) -> None:
    policy.check(config)
    with pytest.raises(AwsError, match=message):
        policy.check_update(config, old, new)


@pytest.mark.parametrize("config", [{}, routed("ALL_AT_ONCE"), routed("CANARY", percent(50)), rolling(instances(1))])
def test_what_aws_allows_passes(config: dict[str, Any]) -> None:
    policy.check(config)
    policy.check_update(config, {"a": 2}, {"a": 2})
