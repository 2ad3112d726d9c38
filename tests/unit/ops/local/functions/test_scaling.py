"""Provisioned concurrency that Application Auto Scaling manages.

https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html#managing-provisioned-concurency
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from whippet.local.clock import Clock

TARGET = {
    "ServiceNamespace": "lambda",
    "ResourceId": "function:function:live",
    "ScalableDimension": "lambda:function:ProvisionedConcurrency",
}
LIVE = {"FunctionName": "function", "Qualifier": "live"}


@pytest.fixture
def scaling(local_aws: Any, function: Any) -> Any:
    """The client of Application Auto Scaling, which manages the alias of a function."""
    local_aws.create_function("def handler(event, context): pass", Publish=True)
    function.api.create_alias(FunctionName="function", Name="live", FunctionVersion="1")
    function.api.put_provisioned_concurrency_config(**LIVE, ProvisionedConcurrentExecutions=1)
    client = local_aws.client("application-autoscaling")
    client.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=3)
    local_aws.eventually(lambda: is_ready(function, 1))
    return client


def is_ready(function: Any, number: int) -> bool:
    told = function.api.get_provisioned_concurrency_config(**LIVE)
    return (told["Status"], told["AllocatedProvisionedConcurrentExecutions"]) == ("READY", number)


def test_it_follows_a_schedule(local_aws: Any, function: Any, scaling: Any, fast_clock: Clock) -> None:
    at = fast_clock.now() + timedelta(seconds=60)
    scaling.put_scheduled_action(
        **TARGET,
        ScheduledActionName="morning",
        Schedule=f"at({at:%Y-%m-%dT%H:%M:%S})",
        ScalableTargetAction={"MinCapacity": 3, "MaxCapacity": 3},
    )
    local_aws.eventually(lambda: is_ready(function, 3))
    assert len(function.pids()) == 3
    [activity, *_] = scaling.describe_scaling_activities(ServiceNamespace="lambda")["ScalingActivities"]
    assert activity["ResourceId"] == "function:function:live"


def test_it_follows_its_utilization(local_aws: Any, function: Any, scaling: Any, fast_clock: Clock) -> None:
    scaling.put_scaling_policy(
        **TARGET,
        PolicyName="utilization",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 0.7,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "LambdaProvisionedConcurrencyUtilization"},
        },
    )

    def is_scaled_under_load() -> bool:
        function.invoke(Qualifier="live")
        return is_ready(function, 2)

    local_aws.eventually(is_scaled_under_load)


def test_a_function_that_is_gone_is_not_scaled(local_aws: Any, function: Any, scaling: Any) -> None:
    function.api.delete_function(FunctionName="function")
    refused = function.refused(scaling.register_scalable_target, **TARGET, MinCapacity=2, MaxCapacity=3)
    assert refused["Error"]["Code"] == "ValidationException"
    assert function.pids() == []
