from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

INVOCATIONS = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
CONCURRENCY = {"PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"}
CUSTOM = {"MetricName": "Backlog", "Namespace": "Own", "Statistic": "Average"}


def test_a_target_tracking_policy_comes_and_goes_with_its_alarms(scaled: Any) -> None:
    put = scaled.put_tracking()
    [described] = scaled.policies()
    assert described["TargetTrackingScalingPolicyConfiguration"] == {
        "TargetValue": 10.0,
        "PredefinedMetricSpecification": INVOCATIONS,
        "ScaleInCooldown": 30,
        "ScaleOutCooldown": 30,
    }
    assert (described["PolicyARN"], described["Alarms"]) == (put["PolicyARN"], put["Alarms"])
    resource = "resource/sagemaker/endpoint/endpoint/variant/main:policyName/follow"
    assert put["PolicyARN"].startswith("arn:aws:autoscaling:us-east-1:123456789012:scalingPolicy:")
    assert put["PolicyARN"].endswith(f":{resource}")
    high, low = scaled.alarms()
    assert high["AlarmName"].startswith(f"TargetTracking-{scaled.name}-AlarmHigh-")
    assert low["AlarmName"].startswith(f"TargetTracking-{scaled.name}-AlarmLow-")
    assert (high["Threshold"], high["Period"], high["EvaluationPeriods"]) == (10.0, 60, 3)
    assert (low["Threshold"], low["Period"], low["EvaluationPeriods"]) == (9.0, 60, 15)
    assert (high["ComparisonOperator"], low["ComparisonOperator"]) == ("GreaterThanThreshold", "LessThanThreshold")
    assert high["AlarmActions"] == low["AlarmActions"] == [put["PolicyARN"]]
    assert high["AlarmDescription"] == (f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {put['PolicyARN']}.")
    assert (high["Namespace"], high["MetricName"], high["Statistic"]) == (
        *("AWS/SageMaker", "InvocationsPerInstance", "Sum"),
    )
    assert {one["Name"]: one["Value"] for one in high["Dimensions"]} == {
        "EndpointName": "endpoint",
        "VariantName": "main",
    }
    scaled.client.delete_scaling_policy(**scaled.key, PolicyName="follow")
    assert scaled.alarms() == []
    with pytest.raises(scaled.client.exceptions.ObjectNotFoundException, match="No scaling policy found"):
        scaled.client.delete_scaling_policy(**scaled.key, PolicyName="follow")


@pytest.mark.parametrize("endpoint", ["endpoint", "an-AlarmHigh-endpoint"])
def test_an_update_keeps_the_alarms_that_stay(local_aws: Any, scaled: Any, endpoint: str) -> None:
    if endpoint != scaled.endpoint:
        local_aws.create_endpoint(name=endpoint)
        scaled.endpoint = endpoint
        scaled.register(MinCapacity=1, MaxCapacity=5)
    put = scaled.put_tracking()
    high, low = (one["AlarmName"] for one in put["Alarms"])
    scaled.raise_alarm(low, 0.0)

    again = scaled.put_tracking(TargetValue=20.0)
    assert again == put | {"ResponseMetadata": again["ResponseMetadata"]}
    assert [(one["AlarmName"], one["Threshold"]) for one in scaled.alarms()] == [(high, 20.0), (low, 18.0)]
    assert scaled.alarms()[1]["StateValue"] == "ALARM"  # a state outlives a change

    again = scaled.put_tracking(TargetValue=20.0, DisableScaleIn=True)
    assert again["PolicyARN"] == put["PolicyARN"]
    assert [one["AlarmName"] for one in again["Alarms"]] == [one["AlarmName"] for one in scaled.alarms()] == [high]

    again = scaled.put_tracking(TargetValue=20.0, DisableScaleIn=False)
    kept, new = (one["AlarmName"] for one in again["Alarms"])
    assert kept == high
    assert new != low
    [described] = scaled.policies()
    assert described["TargetTrackingScalingPolicyConfiguration"]["DisableScaleIn"] is False


def test_the_high_resolution_metric_is_watched_every_ten_seconds(scaled: Any) -> None:
    scaled.put_tracking(PredefinedMetricSpecification=CONCURRENCY)
    high, low = scaled.alarms()
    assert (high["MetricName"], high["Statistic"]) == ("ConcurrentRequestsPerModel", "Average")
    assert (high["Period"], high["EvaluationPeriods"]) == (10, 3)
    assert low["Period"] * low["EvaluationPeriods"] == 900


def test_metric_math_is_followed(scaled: Any) -> None:
    def stat(name: str) -> dict[str, Any]:
        return {"Metric": {"MetricName": name, "Namespace": "Own", "Dimensions": []}, "Stat": "Sum"}

    metrics = [
        {"Id": "all", "MetricStat": stat("Backlog"), "ReturnData": False},
        {"Id": "each", "Expression": "all / 2", "Label": "for each instance"},
    ]
    put = scaled.put_tracking(PredefinedMetricSpecification=None, CustomizedMetricSpecification={"Metrics": metrics})
    high, _ = scaled.alarms()
    assert [(one["Id"], one.get("Expression")) for one in high["Metrics"]] == [("all", None), ("each", "all / 2")]
    assert high["Metrics"][0]["MetricStat"]["Period"] == 60
    [described] = scaled.policies()
    configuration = described["TargetTrackingScalingPolicyConfiguration"]
    assert configuration["CustomizedMetricSpecification"] == {"Metrics": metrics}
    scaled.raise_alarm(put["Alarms"][0]["AlarmName"], 20.0)
    scaled.wait_for(2)


def tracked(**change: Any) -> dict[str, Any]:
    return {"PredefinedMetricSpecification": None, **change}


def math(*queries: dict[str, Any]) -> dict[str, Any]:
    return tracked(CustomizedMetricSpecification={"Metrics": list(queries)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (tracked(), "Exactly one of"),
        ({"CustomizedMetricSpecification": CUSTOM}, "Exactly one of"),
        (
            tracked(PredefinedMetricSpecification={"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}),
            "only supports the following predefined metric types: SageMakerVariantInvocationsPerInstance",
        ),
        ({"TargetValue": 0.0}, "TargetValue must be greater than 0"),
        (tracked(CustomizedMetricSpecification={"Namespace": "Own"}), "needs MetricName"),
        (tracked(CustomizedMetricSpecification=CUSTOM | {"Statistic": "p99"}), "enum value set"),
        (
            tracked(CustomizedMetricSpecification=CUSTOM | {"Metrics": []}),
            "must not be specified together with Metrics",
        ),
        (math({"Id": "a"}), "needs either MetricStat or Expression"),
        (math({"Id": "a", "Expression": "1"}, {"Id": "b", "Expression": "2"}), "should return data"),
    ],
)
def test_a_target_tracking_policy_that_makes_no_sense_is_refused(
    scaled: Any, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(scaled.client.exceptions.ValidationException, match=message):
        scaled.put_tracking(**change)
    assert (scaled.policies(), scaled.alarms()) == ([], [])


def test_one_metric_is_followed_by_one_policy(scaled: Any) -> None:
    scaled.put_tracking()
    with pytest.raises(ClientError, match="Only one TargetTrackingScaling policy for a given metric specification"):
        scaled.put_tracking("second")
    scaled.put_tracking("second", PredefinedMetricSpecification=CONCURRENCY)
    assert [one["PolicyName"] for one in scaled.policies()] == ["follow", "second"]


def test_a_step_scaling_policy_tells_the_alarms_that_name_it(scaled: Any) -> None:
    put = scaled.put_steps()
    assert put["Alarms"] == []
    scaled.put_alarm(put["PolicyARN"])
    [described] = scaled.policies()
    assert described["StepScalingPolicyConfiguration"] == {
        "AdjustmentType": "ChangeInCapacity",
        "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 2}],
        "Cooldown": 60,
    }
    assert [one["AlarmName"] for one in described["Alarms"]] == ["backlog"]
    scaled.client.delete_scaling_policy(**scaled.key, PolicyName="steps")
    assert len(scaled.alarms()) == 1  # it is the caller's own


def step(lower: float | None, upper: float | None) -> dict[str, Any]:
    bounds = {"MetricIntervalLowerBound": lower, "MetricIntervalUpperBound": upper}
    return {"ScalingAdjustment": 1, **{name: bound for name, bound in bounds.items() if bound is not None}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"StepAdjustments": []}, "needs AdjustmentType and StepAdjustments"),
        ({"AdjustmentType": "Twice"}, "enum value set"),
        ({"StepAdjustments": [step(0, 10), step(5, None)]}, "can't overlap"),
        ({"StepAdjustments": [step(0, None), step(5, None)]}, "can't overlap"),
        ({"StepAdjustments": [step(0, 10), step(20, None)]}, "can't have gaps"),
        ({"StepAdjustments": [step(None, None)]}, "can't both be unspecified"),
        ({"StepAdjustments": [step(-10, 0), step(0, None)]}, "an unspecified lower bound"),
        ({"StepAdjustments": [step(0, 10)]}, "an unspecified upper bound"),
        ({"StepAdjustments": [*(step(at, at + 1) for at in range(20)), step(20, None)]}, "at most 20"),
    ],
)
def test_a_step_scaling_policy_that_makes_no_sense_is_refused(
    scaled: Any, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(scaled.client.exceptions.ValidationException, match=message):
        scaled.put_steps(**change)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "PolicyType must be specified"),
        ({"PolicyType": "StepScaling"}, "needs StepScalingPolicyConfiguration"),
        ({"PolicyType": "PredictiveScaling"}, "no policies of type PredictiveScaling"),
        ({"PolicyName": "follow", "PolicyType": "StepScaling"}, "cannot be changed"),
    ],
)
def test_a_policy_has_a_type_for_good(scaled: Any, options: dict[str, Any], message: str) -> None:
    scaled.put_tracking()
    with pytest.raises(scaled.client.exceptions.ValidationException, match=message):
        scaled.client.put_scaling_policy(**scaled.key | {"PolicyName": "new"} | options)
    scaled.client.put_scaling_policy(
        **scaled.key,
        PolicyName="follow",
        TargetTrackingScalingPolicyConfiguration={"TargetValue": 5.0, "PredefinedMetricSpecification": INVOCATIONS},
    )
    assert [one["PolicyType"] for one in scaled.policies()] == ["TargetTrackingScaling"]


def test_a_policy_needs_a_target(local_aws: Any, scaled: Any) -> None:
    scaled.client.deregister_scalable_target(**scaled.key)
    with pytest.raises(scaled.client.exceptions.ObjectNotFoundException, match="No scalable target registered"):
        scaled.put_tracking()


def test_policies_are_found_by_name_and_come_in_pages_of_ten(scaled: Any) -> None:
    names = [f"steps-{index:02}" for index in range(11)]
    for name in names:
        scaled.put_steps(name)
    pages = scaled.client.get_paginator("describe_scaling_policies").paginate(ServiceNamespace="sagemaker")
    assert [[one["PolicyName"] for one in page["ScalingPolicies"]] for page in pages] == [names[:10], names[10:]]
    found = scaled.client.describe_scaling_policies(ServiceNamespace="sagemaker", PolicyNames=["steps-03", "other"])
    assert [one["PolicyName"] for one in found["ScalingPolicies"]] == ["steps-03"]
