"""What policies do to the instances of a variant, and what is told of it."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from whippet.local.clock import Clock


def high(policy: dict[str, Any]) -> str:
    """The name of the alarm that scales out."""
    return str(policy["Alarms"][0]["AlarmName"])


def test_the_cooldowns_lie_between_one_change_and_the_next(local_aws: Any, scaled: Any, fast_clock: Clock) -> None:
    fast_clock.speed = 300.0
    out, in_ = timedelta(seconds=240), timedelta(seconds=420)
    policy = scaled.put_backlog_tracking(ScaleOutCooldown=240, ScaleInCooldown=420)
    # The metric stays where it is, whatever is added: after each cooldown the next instances are asked for.
    local_aws.eventually(scaled.with_backlog(15.0, lambda: scaled.instances() == 5), timeout=60)
    local_aws.eventually(scaled.with_backlog(5.0, lambda: scaled.instances() == 1), timeout=60)
    scaled.wait_for(1)
    activities = scaled.activities()
    counts = [int(one["Description"].removesuffix(".").rsplit(" ", 1)[1]) for one in activities]
    assert counts == [2, 3, 5, 3, 2, 1]
    names = [one["AlarmName"] for one in policy["Alarms"]]
    for activity, name in zip(activities, [names[0]] * 3 + [names[1]] * 3, strict=True):
        assert activity["Cause"] == f"monitor alarm {name} in state ALARM triggered policy follow"
        assert activity["StatusCode"] == "Successful"
    for cooldown, some in ((out, activities[:3]), (in_, activities[3:])):
        for before, after in pairwise(some):
            assert after["StartTime"] - before["EndTime"] >= cooldown


def test_more_than_a_cooling_scale_out_has_added_is_added_at_once(scaled: Any) -> None:
    alarm = high(scaled.put_backlog_tracking(ScaleOutCooldown=3600))
    scaled.raise_alarm(alarm, 20.0)
    scaled.wait_for(2)
    scaled.raise_alarm(alarm, 20.0)
    assert len(scaled.activities()) == 1
    scaled.raise_alarm(alarm, 40.0)
    scaled.wait_for(4)


def test_a_variant_scales_in_when_all_of_its_policies_agree(local_aws: Any, scaled: Any, fast_clock: Clock) -> None:
    """https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html."""
    fast_clock.speed = 300.0
    scaled.register(MinCapacity=3)
    scaled.wait_for(3)
    scaled.register(MinCapacity=1)
    quiet = scaled.put_backlog_tracking("quiet", "Quiet", ScaleInCooldown=0)
    busy = scaled.put_backlog_tracking("busy", "Busy", ScaleInCooldown=0)
    assert len(scaled.alarms()) == 4
    low = quiet["Alarms"][1]["AlarmName"]

    def state() -> str:
        return str(next(one["StateValue"] for one in scaled.alarms() if one["AlarmName"] == low))

    both = scaled.with_backlog(9.5, lambda: state() == "ALARM", "Busy")
    local_aws.eventually(scaled.with_backlog(0.0, both, "Quiet"), timeout=60)
    until = fast_clock.time() + 180
    both = scaled.with_backlog(9.5, lambda: fast_clock.time() > until, "Busy")
    local_aws.eventually(scaled.with_backlog(0.0, both, "Quiet"), timeout=60)
    assert scaled.instances() == 3
    # The one that is ready last says how far: 3 instances with 6 of 10 each are 2.
    both = scaled.with_backlog(6.0, lambda: scaled.instances() == 2, "Busy")
    local_aws.eventually(scaled.with_backlog(0.0, both, "Quiet"), timeout=60)
    scaled.wait_for(2)
    last = scaled.activities()[-1]
    assert last["Description"] == "Setting desired instance count to 2."
    assert any(one["AlarmName"] in last["Cause"] for one in (quiet["Alarms"][1], busy["Alarms"][1]))


def test_why_nothing_was_scaled_can_be_read(scaled: Any) -> None:
    """https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-scaling-activities.html."""
    policy = scaled.put_backlog_tracking()
    scaled.register(MaxCapacity=1)
    scaled.raise_alarm(high(policy), 20.0)
    scaled.raise_alarm(high(policy), 30.0)
    assert scaled.activities() == []
    [activity] = scaled.activities(IncludeNotScaledActivities=True)
    assert activity["NotScaledReasons"] == [{"Code": "AlreadyAtMaxCapacity", "MaxCapacity": 1}]
    assert activity["Description"] == "Attempting to scale due to alarm triggered"
    assert activity["Cause"] == f"monitor alarm {high(policy)} in state ALARM triggered policy follow"
    assert activity["StatusCode"] == "Failed"
    scaled.raise_alarm(policy["Alarms"][1]["AlarmName"], 0.0)
    reasons = [one["NotScaledReasons"] for one in scaled.activities(IncludeNotScaledActivities=True)[1:]]
    assert reasons == [[{"Code": "AlreadyAtMinCapacity", "MinCapacity": 1}]]


def test_a_cooldown_is_no_reason_why_nothing_was_scaled(scaled: Any) -> None:
    policy = scaled.put_backlog_tracking(ScaleOutCooldown=3600)
    scaled.raise_alarm(high(policy), 20.0)
    scaled.wait_for(2)
    scaled.raise_alarm(policy["Alarms"][1]["AlarmName"], 0.0)
    assert len(scaled.activities(IncludeNotScaledActivities=True)) == 1


def test_instances_that_do_not_start_are_a_failed_activity(local_aws: Any, scaled: Any) -> None:
    [pid] = [one["pid"] for one in local_aws.gateway.status()["endpoints"][0]["instances"]]
    Path(psutil.Process(pid).cmdline()[-1]).write_text("crash")
    scaled.raise_alarm(high(scaled.put_backlog_tracking()), 20.0)
    scaled.wait_for(1)
    [activity] = scaled.activities()
    assert activity["StatusCode"] == "Failed"
    assert activity["StatusMessage"].startswith("Failed to set desired instance count to 2. Reason: ")


def test_a_real_time_variant_does_not_scale_to_none(scaled: Any) -> None:
    scaled.register(MinCapacity=0)
    policy = scaled.put_steps(StepAdjustments=[{"MetricIntervalLowerBound": 0, "ScalingAdjustment": -1}])
    scaled.put_alarm(policy["PolicyARN"])
    scaled.raise_alarm("backlog", 20.0)
    [activity] = scaled.activities()
    assert (activity["StatusCode"], scaled.instances()) == ("Failed", 1)
    assert "at least one instance" in activity["StatusMessage"]


def test_a_suspended_target_is_left_alone(local_aws: Any, scaled: Any) -> None:
    scaled.register(SuspendedState={"DynamicScalingOutSuspended": True})
    scaled.put_alarm(scaled.put_steps()["PolicyARN"])
    scaled.raise_alarm("backlog", 15.0)
    assert scaled.activities(IncludeNotScaledActivities=True) == []
    scaled.register(SuspendedState={"DynamicScalingOutSuspended": False, "DynamicScalingInSuspended": True})
    scaled.raise_alarm("backlog", 15.0)
    scaled.wait_for(3)
    [activity] = scaled.activities()
    assert activity["Cause"] == "monitor alarm backlog in state ALARM triggered policy steps"
    scaled.put_steps(StepAdjustments=[{"MetricIntervalLowerBound": 0, "ScalingAdjustment": -1}])
    scaled.raise_alarm("backlog", 15.0)
    assert len(scaled.activities()) == 1


def test_an_alarm_that_goes_on_is_followed_step_after_step(local_aws: Any, scaled: Any, fast_clock: Clock) -> None:
    policy = scaled.put_steps(StepAdjustments=[{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}], Cooldown=60)
    scaled.put_alarm(policy["PolicyARN"])
    local_aws.eventually(scaled.with_backlog(15.0, lambda: scaled.instances() == 3))


def test_no_two_changes_are_made_at_a_time(local_aws: Any, scaled: Any) -> None:
    local_aws.create_endpoint_config("slow", "healthy after 1")
    alarm = high(scaled.put_backlog_tracking())
    local_aws.client("sagemaker").update_endpoint(EndpointName="endpoint", EndpointConfigName="slow")
    scaled.raise_alarm(alarm, 20.0)
    assert scaled.activities(IncludeNotScaledActivities=True) == []
    local_aws.settled()
    scaled.raise_alarm(alarm, 20.0)
    scaled.wait_for(2)


def test_provisioned_concurrency_is_scaled(local_aws: Any) -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html#managing-provisioned-concurency."""
    local_aws.create_function("def handler(event, context): return None")
    functions, scaling = local_aws.client("lambda"), local_aws.client("application-autoscaling")
    functions.publish_version(FunctionName="function")
    functions.create_alias(FunctionName="function", Name="live", FunctionVersion="1")
    functions.put_provisioned_concurrency_config(
        FunctionName="function", Qualifier="live", ProvisionedConcurrentExecutions=1
    )

    def provisioned() -> dict[str, Any]:
        found: dict[str, Any] = functions.get_provisioned_concurrency_config(FunctionName="function", Qualifier="live")
        return found

    local_aws.eventually(lambda: provisioned()["Status"] == "READY")
    key = {
        "ServiceNamespace": "lambda",
        "ResourceId": "function:function:live",
        "ScalableDimension": "lambda:function:ProvisionedConcurrency",
    }
    scaling.register_scalable_target(**key, MinCapacity=1, MaxCapacity=3)
    metric = {"PredefinedMetricType": "LambdaProvisionedConcurrencyUtilization"}
    policy = scaling.put_scaling_policy(
        **key,
        PolicyName="follow",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={"TargetValue": 0.5, "PredefinedMetricSpecification": metric},
    )
    [alarm] = local_aws.client("cloudwatch").describe_alarms(AlarmNames=[high(policy)])["MetricAlarms"]
    assert (alarm["MetricName"], {one["Name"]: one["Value"] for one in alarm["Dimensions"]}) == (
        "ProvisionedConcurrencyUtilization",
        {"FunctionName": "function", "Resource": "function:live"},
    )
    data = json.dumps({"recentDatapoints": [1.0]})
    local_aws.client("cloudwatch").set_alarm_state(
        AlarmName=high(policy), StateValue="ALARM", StateReason="a test", StateReasonData=data
    )

    local_aws.eventually(lambda: provisioned()["AllocatedProvisionedConcurrentExecutions"] == 2)

    def activity() -> Any:
        [found] = scaling.describe_scaling_activities(ServiceNamespace="lambda")["ScalingActivities"]
        return found if found["StatusCode"] != "InProgress" else None

    told = local_aws.eventually(activity)
    assert told["Description"] == "Setting desired concurrency to 2."
    assert told["StatusMessage"].endswith("Change successfully fulfilled by lambda.")
    with pytest.raises(scaling.exceptions.ValidationException, match="not supported for lambda"):
        scaling.put_scaling_policy(
            **key,
            PolicyName="steps",
            PolicyType="StepScaling",
            StepScalingPolicyConfiguration={
                "AdjustmentType": "ChangeInCapacity",
                "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 2}],
            },
        )
