"""How an update shifts traffic: pure rules over the numbers of instances.

https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whippet.local.calls import AwsError

#: Percent of a variant's instances, https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_TrafficRoutingConfig.html
#: and https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_RollingUpdatePolicy.html
LIMITS = {"CanarySize": (0, 50), "LinearStepSize": (10, 50), "MaximumBatchSize": (5, 50)}
DEFAULT_ROUTING: Mapping[str, Any] = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}


@dataclass(frozen=True)
class Policy:
    """A DeploymentConfig, read.

    Attributes:
        kind: ALL_AT_ONCE, CANARY, LINEAR or ROLLING.
        size: the size of the canary, of a linear step or of a batch.
        rollback_size: the size of a batch when a rolling update is rolled back; all at once unless given.
        wait: seconds of each baking period.
        termination_wait: seconds after the last one before the old fleet is terminated.
        timeout: seconds for the whole deployment.
        alarms: the names of the alarms that roll it back.
    """

    kind: str
    size: Mapping[str, Any] | None
    rollback_size: Mapping[str, Any] | None
    wait: float
    termination_wait: float
    timeout: float
    alarms: tuple[str, ...]


def read(config: Mapping[str, Any] | None) -> Policy:
    """Reads a DeploymentConfig; without one, all traffic shifts at once and nothing is waited for."""
    config = config or {}
    alarms = tuple(one["AlarmName"] for one in config.get("AutoRollbackConfiguration", {}).get("Alarms", []))
    rolling = config.get("RollingUpdatePolicy")
    policy = rolling or config.get("BlueGreenUpdatePolicy", {})
    routing = rolling or policy.get("TrafficRoutingConfiguration", DEFAULT_ROUTING)
    return Policy(
        kind="ROLLING" if rolling else routing["Type"],
        size=routing.get("CanarySize") or routing.get("LinearStepSize") or routing.get("MaximumBatchSize"),
        rollback_size=routing.get("RollbackMaximumBatchSize"),
        wait=routing.get("WaitIntervalInSeconds", 0),
        termination_wait=policy.get("TerminationWaitInSeconds", 0),
        timeout=policy.get("MaximumExecutionTimeoutInSeconds", math.inf),
        alarms=alarms,
    )


def check(config: Mapping[str, Any]) -> None:
    """Checks what does not depend on an endpoint.

    Raises:
        AwsError: ValidationException. What AWS rules is documented, its words are not.
    """
    if "BlueGreenUpdatePolicy" in config and "RollingUpdatePolicy" in config:
        raise AwsError("ValidationException", "Only one of BlueGreenUpdatePolicy and RollingUpdatePolicy is allowed.")
    routing = config.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
    needed = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}.get(routing.get("Type", ""))
    if needed and needed not in routing:
        raise AwsError("ValidationException", f"{needed} is required for traffic routing type {routing['Type']}.")
    for member, (low, high) in LIMITS.items():
        size = {**routing, **config.get("RollingUpdatePolicy", {})}.get(member)
        if size and size["Type"] == "CAPACITY_PERCENT" and not low <= size["Value"] <= high:
            raise AwsError("ValidationException", f"{member} must be {low}-{high}% of the variant's capacity.")


def check_update(config: Mapping[str, Any], old: Mapping[str, int], new: Mapping[str, int]) -> None:
    """Checks a DeploymentConfig against the variants that it is to update.

    Args:
        config: the DeploymentConfig.
        old: how many instances each variant has.
        new: how many it is to have.

    Raises:
        AwsError: ValidationException.
    """
    policy = read(config)
    if policy.size is None:
        return
    # https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-exclusions.html
    if old.keys() != new.keys():
        raise AwsError("ValidationException", "The new endpoint configuration must have the same variant names.")
    if policy.kind == "ROLLING" and len(new) > 1:
        raise AwsError("ValidationException", "A rolling deployment needs an endpoint with one variant.")
    for name, count in new.items():
        if policy.size["Type"] == "INSTANCE_COUNT" and policy.size["Value"] > count / 2:
            message = f"The size must be at most 50% of the {count} instances of variant {name}."
            raise AwsError("ValidationException", message)


def instances_of(size: Mapping[str, Any], count: int) -> int:
    """How many of `count` instances a CapacitySize means: part of one is one.

    How AWS rounds is not documented; the next larger number is what a part of one instance needs.
    """
    if size["Type"] == "INSTANCE_COUNT":
        return min(count, int(size["Value"]))
    return math.ceil(count * int(size["Value"]) / 100)


def steps(policy: Policy, count: int) -> list[int]:
    """How many instances of the new fleet take traffic after each step of a blue/green update."""
    if policy.size is None:
        return [count]
    size = instances_of(policy.size, count)
    if policy.kind == "CANARY":
        return [size, count] if size < count else [count]
    return [*range(size, count, size), count]


def left(old: int, new: int, done: int) -> int:
    """How many of `old` instances still take traffic when `done` of `new` do: none once all do, else at least one."""
    return math.ceil(old * (1 - done / new)) if done < new else 0
