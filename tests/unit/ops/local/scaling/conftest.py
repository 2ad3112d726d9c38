"""What the tests of scaling share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

DIMENSION = "sagemaker:variant:DesiredInstanceCount"


@dataclass
class Scaled:
    """The variant of a test, as Application Auto Scaling and its callers see it."""

    local_aws: Any
    endpoint: str = "endpoint"
    client: Any = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.local_aws.client("application-autoscaling")

    @property
    def name(self) -> str:
        """The resource id."""
        return f"endpoint/{self.endpoint}/variant/main"

    @property
    def key(self) -> dict[str, str]:
        """What names the variant in each call."""
        return {"ServiceNamespace": "sagemaker", "ResourceId": self.name, "ScalableDimension": DIMENSION}

    def register(self, **options: Any) -> dict[str, Any]:
        """RegisterScalableTarget; from one to five instances where the target is new."""
        answer: dict[str, Any] = self.client.register_scalable_target(**self.key, **options)
        return answer

    def put_tracking(self, policy: str = "follow", **change: Any) -> dict[str, Any]:
        """A target tracking policy; with the cooldowns of half a minute where nothing else is said."""
        metric = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
        given = {
            "TargetValue": 10.0,
            "PredefinedMetricSpecification": metric,
            "ScaleInCooldown": 30,
            "ScaleOutCooldown": 30,
            **change,
        }
        answer: dict[str, Any] = self.client.put_scaling_policy(
            **self.key,
            PolicyName=policy,
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                name: value for name, value in given.items() if value is not None
            },
        )
        return answer

    def put_backlog_tracking(self, policy: str = "follow", metric: str = "Backlog", **change: Any) -> dict[str, Any]:
        """A policy that keeps an own metric at 10."""
        custom = {"MetricName": metric, "Namespace": "Own", "Statistic": "Average"}
        return self.put_tracking(
            policy, PredefinedMetricSpecification=None, CustomizedMetricSpecification=custom, **change
        )

    def put_steps(self, policy: str = "steps", **change: Any) -> dict[str, Any]:
        """A step scaling policy that adds two."""
        answer: dict[str, Any] = self.client.put_scaling_policy(
            **self.key,
            PolicyName=policy,
            PolicyType="StepScaling",
            StepScalingPolicyConfiguration={
                "AdjustmentType": "ChangeInCapacity",
                "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 2}],
                "Cooldown": 60,
                **change,
            },
        )
        return answer

    def put_alarm(self, policy_arn: str, name: str = "backlog") -> None:
        """An alarm on the backlog that names a policy."""
        self.local_aws.client("cloudwatch").put_metric_alarm(
            AlarmName=name,
            Namespace="Own",
            MetricName="Backlog",
            Statistic="Maximum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=10.0,
            ComparisonOperator="GreaterThanThreshold",
            AlarmActions=[policy_arn],
        )

    def raise_alarm(self, name: str, value: float) -> None:
        """Sets an alarm off by hand, as if its latest datapoint were this one."""
        cloudwatch = self.local_aws.client("cloudwatch")
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="a test")
        data = json.dumps({"recentDatapoints": [value]})
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test", StateReasonData=data)

    def with_backlog(self, value: float, condition: Callable[[], Any], metric: str = "Backlog") -> Callable[[], Any]:
        """The same condition, looked at with a further value of the own metric."""

        def check() -> Any:
            self.local_aws.client("cloudwatch").put_metric_data(
                Namespace="Own", MetricData=[{"MetricName": metric, "Value": value}]
            )
            return condition()

        return check

    def instances(self) -> int:
        """How many instances the variant has."""
        described = self.local_aws.client("sagemaker").describe_endpoint(EndpointName=self.endpoint)
        return int(described["ProductionVariants"][0]["CurrentInstanceCount"])

    def wait_for(self, count: int) -> None:
        """Waits until the variant has so many instances and no activity is in progress."""

        def is_done() -> bool:
            # The instances first: an activity begins before them, and could begin between the two answers.
            return self.instances() == count and not any(one["StatusCode"] == "InProgress" for one in self.activities())

        self.local_aws.eventually(is_done)

    def target(self) -> dict[str, Any]:
        """DescribeScalableTargets, of the variant."""
        found = self.client.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[self.name])
        [target] = found["ScalableTargets"]
        described: dict[str, Any] = target
        return described

    def policies(self) -> list[dict[str, Any]]:
        """DescribeScalingPolicies, of the variant."""
        found = self.client.describe_scaling_policies(ServiceNamespace="sagemaker", ResourceId=self.name)
        described: list[dict[str, Any]] = found["ScalingPolicies"]
        return described

    def actions(self) -> list[dict[str, Any]]:
        """DescribeScheduledActions, of the variant."""
        found = self.client.describe_scheduled_actions(ServiceNamespace="sagemaker", ResourceId=self.name)
        described: list[dict[str, Any]] = found["ScheduledActions"]
        return described

    def activities(self, **options: Any) -> list[dict[str, Any]]:
        """DescribeScalingActivities, of the variant, oldest first."""
        found = self.client.describe_scaling_activities(ServiceNamespace="sagemaker", ResourceId=self.name, **options)
        return list(reversed(found["ScalingActivities"]))

    def alarms(self) -> list[dict[str, Any]]:
        """All alarms."""
        described: list[dict[str, Any]] = self.local_aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
        return described


@pytest.fixture
def scaled(local_aws: Any) -> Scaled:
    """An endpoint that may have one to five instances."""
    local_aws.create_endpoint()
    scaled = Scaled(local_aws)
    scaled.register(MinCapacity=1, MaxCapacity=5, Tags={"team": "a"})
    return scaled
