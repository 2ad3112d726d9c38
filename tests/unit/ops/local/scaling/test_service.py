from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from whippet.local.clock import Clock

NAME, DIMENSION = "endpoint/endpoint/variant/main", "sagemaker:variant:DesiredInstanceCount"
KEY = {"ServiceNamespace": "sagemaker", "ResourceId": NAME, "ScalableDimension": DIMENSION}
TRACKING = {
    "TargetValue": 10.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
    "ScaleInCooldown": 30,
    "ScaleOutCooldown": 30,
}


@pytest.fixture
def scaling(local_aws: Any) -> Any:
    """A client, and an endpoint that may have one to five instances."""
    local_aws.create_endpoint()
    client = local_aws.client("application-autoscaling")
    client.register_scalable_target(**KEY, MinCapacity=1, MaxCapacity=5, Tags={"team": "a"})
    return client


def put_tracking(scaling: Any, **change: Any) -> Any:
    configuration = {name: value for name, value in (TRACKING | change).items() if value is not None}
    return scaling.put_scaling_policy(
        **KEY,
        PolicyName="follow",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=configuration,
    )


def instances(local_aws: Any) -> int:
    (variant,) = local_aws.client("sagemaker").describe_endpoint(EndpointName="endpoint")["ProductionVariants"]
    return int(variant["CurrentInstanceCount"])


def activities(scaling: Any, **options: Any) -> list[dict[str, Any]]:
    found = scaling.describe_scaling_activities(ServiceNamespace="sagemaker", ResourceId=NAME, **options)
    return list(reversed(found["ScalingActivities"]))


def test_a_target_reads_back_as_it_was_registered(scaling: Any) -> None:
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[NAME])["ScalableTargets"]
    assert {name: target[name] for name in KEY} == KEY
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 5)
    assert target["RoleARN"].endswith("AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint")
    arn = target["ScalableTargetARN"]
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"team": "a"}
    scaling.tag_resource(ResourceARN=arn, Tags={"stage": "dev"})
    scaling.untag_resource(ResourceARN=arn, TagKeys=["team"])
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"stage": "dev"}
    scaling.register_scalable_target(**KEY, MaxCapacity=7)
    (changed,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (changed["MinCapacity"], changed["MaxCapacity"], changed["ScalableTargetARN"]) == (1, 7, arn)
    scaling.deregister_scalable_target(**KEY)
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []
    with pytest.raises(ClientError, match="No scalable target registered"):
        scaling.deregister_scalable_target(**KEY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ResourceId": "endpoint/none/variant/main"}, "does not exist"),
        ({"MinCapacity": 6}, "Maximum capacity"),
        ({"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}, "does not scale"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused(scaling: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        scaling.register_scalable_target(**KEY | {"MinCapacity": 1, "MaxCapacity": 5} | change)


def test_a_capacity_outside_of_the_bounds_is_moved_into_them(local_aws: Any, scaling: Any) -> None:
    scaling.register_scalable_target(**KEY, MinCapacity=2)
    local_aws.eventually(lambda: instances(local_aws) == 2)
    local_aws.eventually(lambda: activities(scaling)[-1]["StatusCode"] == "Successful")
    (activity,) = activities(scaling)
    assert activity["Description"] == "Setting desired instance count to 2."
    assert activity["Cause"] == "minimum capacity was set to 2"
    assert activity["StatusMessage"] == (
        "Successfully set desired instance count to 2. Change successfully fulfilled by sagemaker."
    )


def test_a_target_tracking_policy_comes_and_goes_with_its_alarms(local_aws: Any, scaling: Any) -> None:
    cloudwatch = local_aws.client("cloudwatch")
    put = put_tracking(scaling)
    (described,) = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert described["TargetTrackingScalingPolicyConfiguration"] == TRACKING
    assert described["Alarms"] == put["Alarms"]
    high, low = cloudwatch.describe_alarms(AlarmNames=[one["AlarmName"] for one in put["Alarms"]])["MetricAlarms"]
    assert high["AlarmName"].startswith(f"TargetTracking-{NAME}-AlarmHigh-")
    assert low["AlarmName"].startswith(f"TargetTracking-{NAME}-AlarmLow-")
    assert (high["Threshold"], high["Period"], high["EvaluationPeriods"]) == (10.0, 60, 3)
    assert (low["Threshold"], low["Period"], low["EvaluationPeriods"]) == (9.0, 60, 15)
    assert high["AlarmActions"] == low["AlarmActions"] == [put["PolicyARN"]]
    assert high["MetricName"] == "InvocationsPerInstance"

    again = put_tracking(scaling, TargetValue=20.0, DisableScaleIn=True)
    assert again["PolicyARN"] == put["PolicyARN"]
    assert [one["AlarmName"] for one in again["Alarms"]] == [high["AlarmName"]]
    (only,) = cloudwatch.describe_alarms()["MetricAlarms"]
    assert only["Threshold"] == 20.0
    scaling.delete_scaling_policy(**KEY, PolicyName="follow")
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []
    with pytest.raises(ClientError, match="No scaling policy found"):
        scaling.delete_scaling_policy(**KEY, PolicyName="follow")


def test_the_high_resolution_metric_is_watched_every_ten_seconds(local_aws: Any, scaling: Any) -> None:
    kind = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    put_tracking(scaling, PredefinedMetricSpecification={"PredefinedMetricType": kind})
    high, low = local_aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert (high["MetricName"], high["Period"], high["EvaluationPeriods"]) == ("ConcurrentRequestsPerModel", 10, 3)
    assert low["Period"] * low["EvaluationPeriods"] == 900


@pytest.mark.parametrize(
    "change",
    [
        {"PredefinedMetricSpecification": None},
        {"PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(scaling: Any, change: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="ValidationException"):
        put_tracking(scaling, **change)


def test_a_customized_metric_scales_out_and_in(local_aws: Any, scaling: Any, fast_clock: Clock) -> None:
    custom = {"MetricName": "Backlog", "Namespace": "Own", "Statistic": "Average"}
    put_tracking(scaling, PredefinedMetricSpecification=None, CustomizedMetricSpecification=custom)
    cloudwatch = local_aws.client("cloudwatch")

    def count_with(value: float) -> int:
        cloudwatch.put_metric_data(Namespace="Own", MetricData=[{"MetricName": "Backlog", "Value": value}])
        return instances(local_aws)

    local_aws.eventually(lambda: count_with(30.0) == 5, timeout=40.0)
    local_aws.eventually(lambda: count_with(0.0) == 1, timeout=60.0)
    causes = {activity["Cause"].split("-Alarm")[1].split("-")[0] for activity in activities(scaling)}
    assert causes == {"High", "Low"}


def test_a_suspended_target_is_left_alone(local_aws: Any, scaling: Any, fast_clock: Clock) -> None:
    scaling.register_scalable_target(**KEY, SuspendedState={"DynamicScalingOutSuspended": True})
    policy = scaling.put_scaling_policy(
        **KEY,
        PolicyName="steps",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 2}],
            "Cooldown": 60,
        },
    )
    cloudwatch = local_aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="backlog",
        Namespace="Own",
        MetricName="Backlog",
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=10.0,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[policy["PolicyARN"]],
    )

    def put_and(condition: Any) -> Any:
        def check() -> Any:
            cloudwatch.put_metric_data(Namespace="Own", MetricData=[{"MetricName": "Backlog", "Value": 15.0}])
            return condition()

        return check

    def is_raised() -> bool:
        return bool(cloudwatch.describe_alarms(AlarmNames=["backlog"])["MetricAlarms"][0]["StateValue"] == "ALARM")

    local_aws.eventually(put_and(is_raised))
    assert activities(scaling) == []
    scaling.register_scalable_target(**KEY, SuspendedState={"DynamicScalingOutSuspended": False})
    local_aws.eventually(put_and(lambda: instances(local_aws) == 3))
    assert activities(scaling)[0]["Cause"] == "monitor alarm backlog in state ALARM triggered policy steps"
    (described,) = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert [one["AlarmName"] for one in described["Alarms"]] == ["backlog"]


def test_a_scheduled_action_sets_the_bounds_when_it_is_due(local_aws: Any, scaling: Any, fast_clock: Clock) -> None:
    scaling.put_scheduled_action(
        **KEY, ScheduledActionName="morning", Schedule="rate(2 minutes)", ScalableTargetAction={"MinCapacity": 3}
    )
    (action,) = scaling.describe_scheduled_actions(ServiceNamespace="sagemaker")["ScheduledActions"]
    assert (action["Schedule"], action["ScalableTargetAction"]) == ("rate(2 minutes)", {"MinCapacity": 3})
    local_aws.eventually(lambda: instances(local_aws) == 3)
    assert activities(scaling)[0]["Cause"] == "scheduled action name morning was triggered"
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (3, 5)
    scaling.delete_scheduled_action(**KEY, ScheduledActionName="morning")
    assert scaling.describe_scheduled_actions(ServiceNamespace="sagemaker")["ScheduledActions"] == []
    with pytest.raises(ClientError, match="Invalid schedule"):
        scaling.put_scheduled_action(
            **KEY, ScheduledActionName="never", Schedule="sometimes", ScalableTargetAction={"MinCapacity": 3}
        )
