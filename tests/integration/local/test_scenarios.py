"""What happens to callers while an endpoint is updated, rolled back and scaled, on a clock sixty times the wall's."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from support.load import Load
from whippet.local import control

CONTAINER = Path(__file__).parents[2] / "unit" / "ops" / "local" / "container.py"
SPEED = 60.0
NAME = "breeds"
RESOURCE = f"endpoint/{NAME}/variant/main"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "sagemaker.amazonaws.com"}}],
}
PERMISSIONS = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "logs:*", "cloudwatch:DescribeAlarms"], "Resource": "*"}
    ],
}


class Account:
    """A local AWS with endpoints whose model does what its bytes say: see the container."""

    def __init__(self, daemon: Any) -> None:
        self._daemon = daemon
        self.sagemaker = daemon.client("sagemaker")
        self.cloudwatch = daemon.client("cloudwatch")
        self.scaling = daemon.client("application-autoscaling")
        self.eventually = daemon.eventually
        iam = daemon.client("iam")
        self._role = iam.create_role(RoleName="model", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        iam.put_role_policy(RoleName="model", PolicyName="read", PolicyDocument=json.dumps(PERMISSIONS))
        daemon.client("s3").create_bucket(Bucket="models")
        self._runtime = boto3.client(
            "sagemaker-runtime",
            region_name="us-east-1",
            endpoint_url=control.url(daemon.port),
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, max_pool_connections=80),
        )

    def configure(self, name: str, model: str, instances: int) -> None:
        """An endpoint configuration."""
        self._daemon.client("s3").put_object(Bucket="models", Key=name, Body=model.encode())
        container = {"Image": "image", "ModelDataUrl": f"s3://models/{name}"}
        self.sagemaker.create_model(ModelName=name, ExecutionRoleArn=self._role, PrimaryContainer=container)
        variant = {"VariantName": "main", "ModelName": name, "InstanceType": "ml.c6i.large"}
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[variant | {"InitialInstanceCount": instances}]
        )

    def create(self, instances: int) -> None:
        """The endpoint, in service with the model `good`."""
        self.configure("good", "good", instances)
        self.sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName="good")
        assert self.settled()["EndpointStatus"] == "InService"

    def settled(self) -> dict[str, Any]:
        """What describe-endpoint says once nothing is under way."""

        def description() -> dict[str, Any] | None:
            described: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=NAME)
            return described if described["EndpointStatus"] in ("InService", "Failed") else None

        described: dict[str, Any] = self.eventually(description)
        return described

    def invoke(self) -> str:
        """Asks the endpoint; which model has answered."""
        answer = self._runtime.invoke_endpoint(EndpointName=NAME, Body=b"?")
        return str(json.load(answer["Body"])["model"])

    def now(self) -> datetime:
        """What the clock of local AWS shows."""
        status = control.status(self._daemon.port)
        assert status is not None
        return datetime.fromisoformat(status.now)

    def metric(self, since: datetime, name: str, statistic: str, period: int) -> list[tuple[datetime, float]]:
        """The datapoints of a metric of the variant, oldest first."""
        dimensions = [{"Name": "EndpointName", "Value": NAME}, {"Name": "VariantName", "Value": "main"}]
        metric = {"Namespace": "AWS/SageMaker", "MetricName": name, "Dimensions": dimensions}
        query = {"Id": "m", "MetricStat": {"Metric": metric, "Period": period, "Stat": statistic}}
        found = self.cloudwatch.get_metric_data(
            MetricDataQueries=[query], StartTime=since, EndTime=self.now(), ScanBy="TimestampAscending"
        )["MetricDataResults"][0]
        return list(zip(found["Timestamps"], found["Values"], strict=True))

    def activities(self) -> list[dict[str, Any]]:
        """The scaling activities, oldest first."""
        found = self.scaling.describe_scaling_activities(ServiceNamespace="sagemaker", ResourceId=RESOURCE)
        return list(reversed(found["ScalingActivities"]))

    def settled_activities(self) -> list[dict[str, Any]]:
        """The scaling activities once they are over, which is noticed after the instances have come or gone."""

        def settled() -> list[dict[str, Any]]:
            found = self.activities()
            return [] if any(one["StatusCode"] == "InProgress" for one in found) else found

        found: list[dict[str, Any]] = self.eventually(settled)
        return found

    def instances(self) -> int:
        """How many instances the variant has."""
        described = self.sagemaker.describe_endpoint(EndpointName=NAME)
        return int(described["ProductionVariants"][0]["CurrentInstanceCount"])


@pytest.fixture
def account(daemon: Any) -> Iterator[Account]:
    daemon.up(speed=SPEED, container_command=(sys.executable, "-S", str(CONTAINER), "{model}"))
    yield Account(daemon)


CANARY = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1},
            "WaitIntervalInSeconds": 600,
        },
        "TerminationWaitInSeconds": 60,
        "MaximumExecutionTimeoutInSeconds": 3600,
    },
    "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]},
}


def watch_errors(account: Account) -> None:
    account.cloudwatch.put_metric_alarm(
        AlarmName="errors",
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=[{"Name": "EndpointName", "Value": NAME}, {"Name": "VariantName", "Value": "main"}],
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    account.eventually(lambda: alarm(account)["StateValue"] == "OK")


def alarm(account: Account) -> dict[str, Any]:
    described: dict[str, Any] = account.cloudwatch.describe_alarms(AlarmNames=["errors"])["MetricAlarms"][0]
    return described


def test_a_model_that_crashes_at_start_is_rolled_back_and_no_request_fails(account: Account) -> None:
    account.create(instances=2)
    watch_errors(account)
    account.configure("broken", "crash", instances=2)
    with Load(account.invoke, rate=20) as load:
        account.eventually(lambda: len(load.answers) > 10)
        account.sagemaker.update_endpoint(EndpointName=NAME, EndpointConfigName="broken", DeploymentConfig=CANARY)
        described = account.settled()
        after = len(load.answers)
        account.eventually(lambda: len(load.answers) > after + 10)
    assert load.errors == []
    assert Counter(load.answers).keys() == {"good"}
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointConfigName"] == "good"
    assert "ping health check" in described["FailureReason"]
    assert "the weights are broken" in described["FailureReason"]
    assert described["LastDeploymentConfig"]["AutoRollbackConfiguration"] == CANARY["AutoRollbackConfiguration"]
    assert alarm(account)["StateValue"] == "OK"


def test_a_model_that_fails_after_the_shift_of_the_canary_is_rolled_back_by_the_alarm(account: Account) -> None:
    account.create(instances=2)
    watch_errors(account)
    account.configure("failing", "always fails", instances=2)
    with Load(account.invoke, rate=20) as load:
        account.eventually(lambda: len(load.answers) > 10)
        account.sagemaker.update_endpoint(EndpointName=NAME, EndpointConfigName="failing", DeploymentConfig=CANARY)
        described = account.settled()
        good = len(load.answers)
        account.eventually(lambda: len(load.answers) > good + 20)
        failed = len(load.errors)
        account.eventually(lambda: len(load.answers) > good + 40)
        # Once rolled back, nothing fails any more.
        assert len(load.errors) == failed
    assert load.errors, "the canary has taken no traffic"
    assert all("ModelError" in str(error) for error in load.errors)
    # One instance in two was the canary, and never more: the old fleet has answered at least as much.
    assert len(load.errors) <= 1.2 * good
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointConfigName"] == "good"
    assert "errors" in described["FailureReason"]
    history = account.cloudwatch.describe_alarm_history(AlarmName="errors", HistoryItemType="StateUpdate")
    assert any("to ALARM" in item["HistorySummary"] for item in history["AlarmHistoryItems"])


@pytest.mark.parametrize(
    ("predefined", "metric", "statistic", "period", "target"),
    [
        ("SageMakerVariantInvocationsPerInstance", "InvocationsPerInstance", "Sum", 60, 10.0),
        (
            "SageMakerVariantConcurrentRequestsPerModelHighResolution",
            "ConcurrentRequestsPerModel",
            "Average",
            10,
            1.0,
        ),
    ],
)
def test_a_spike_is_answered_with_instances_that_go_when_it_is_over(
    account: Account, predefined: str, metric: str, statistic: str, period: int, target: float
) -> None:
    account.create(instances=1)
    account.scaling.register_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId=RESOURCE,
        ScalableDimension=DIMENSION,
        MinCapacity=1,
        MaxCapacity=5,
    )
    policy = account.scaling.put_scaling_policy(
        PolicyName="follow",
        ServiceNamespace="sagemaker",
        ResourceId=RESOURCE,
        ScalableDimension=DIMENSION,
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": target,
            "PredefinedMetricSpecification": {"PredefinedMetricType": predefined},
            "ScaleInCooldown": 30,
            "ScaleOutCooldown": 30,
        },
    )
    high, low = sorted(one["AlarmName"] for one in policy["Alarms"])
    assert high.startswith(f"TargetTracking-{RESOURCE}-AlarmHigh-")
    assert low.startswith(f"TargetTracking-{RESOURCE}-AlarmLow-")

    since = account.now() - timedelta(minutes=2)
    is_concurrency = metric == "ConcurrentRequestsPerModel"
    call = busy(account) if is_concurrency else account.invoke
    with Load(call, rate=30 if is_concurrency else 60) as load:
        account.eventually(lambda: account.instances() == 5)
    account.eventually(lambda: account.instances() == 1, timeout=120)
    assert load.errors == []

    activities = account.settled_activities()
    counts = [1, *(int(one["Description"].removesuffix(".").rsplit(" ", 1)[1]) for one in activities)]
    peak = counts.index(5)
    assert counts == sorted(counts[: peak + 1]) + sorted(counts[peak + 1 :], reverse=True)
    assert counts[-1] == 1
    series = account.metric(since, metric, statistic, period)
    for activity, before, after in zip(activities, counts, counts[1:], strict=False):
        assert activity["StatusCode"] == "Successful", activity
        started = activity["StartTime"]
        seen = [value for at, value in series if at + timedelta(seconds=period) <= started]
        if after > before:
            assert activity["Cause"] == f"monitor alarm {high} in state ALARM triggered policy follow"
            # Three datapoints above the target, and as many instances as bring the metric down to it. The latest one
            # may have come after the alarm had looked.
            assert all(value > target for value in seen[-3:])
            assert after in {min(5, math.ceil(before * value / target)) for value in seen[-2:]}
        else:
            assert activity["Cause"] == f"monitor alarm {low} in state ALARM triggered policy follow"
            quiet = [value for at, value in series if started - timedelta(minutes=15) <= at < started]
            assert quiet
            assert all(value < 0.9 * target for value in quiet)


def busy(account: Account) -> Callable[[], str]:
    """A call that keeps an instance busy for a fifth of a second."""

    def call() -> str:
        return str(json.load(account._runtime.invoke_endpoint(EndpointName=NAME, Body=b"sleep 0.2")["Body"])["model"])

    return call
