from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from support.load import Load
from whippet.local.clock import Clock

ALARMS = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}}
ONE = {"Type": "INSTANCE_COUNT", "Value": 1}


def shift(kind: str, wait: int = 60, size: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    member = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}.get(kind, "")
    routing = {"Type": kind, "WaitIntervalInSeconds": wait, **({member: size or ONE} if member else {})}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, **more}}


def roll(wait: int = 30, **more: Any) -> dict[str, Any]:
    return {"RollingUpdatePolicy": {"MaximumBatchSize": ONE, "WaitIntervalInSeconds": wait, **more}}


@pytest.fixture
def alarm(local_aws: Any) -> Any:
    """Sets the alarm `errors` off; until then it is OK."""
    cloudwatch = local_aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="errors",
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=[{"Name": "EndpointName", "Value": "endpoint"}, {"Name": "VariantName", "Value": "main"}],
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",
    )
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="OK", StateReason="all is well")

    def set_off() -> None:
        cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="too many errors")

    return set_off


def test_a_canary_serves_its_part_until_it_has_proved_itself(local_aws: Any, endpoint: Any, fast_clock: Clock) -> None:
    local_aws.create_endpoint("old", InitialInstanceCount=2)
    local_aws.create_endpoint_config("new", "new", InitialInstanceCount=2)
    endpoint.update("new", DeploymentConfig=shift("CANARY"))
    local_aws.eventually(lambda: endpoint.stage() == "Baking")
    assert endpoint.models(20) == {"old": 10, "new": 10}
    described = endpoint.describe()
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("Updating", "endpoint-config")
    assert described["PendingDeploymentSummary"]["EndpointConfigName"] == "new"
    described = local_aws.settled()
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "new")
    assert described["LastDeploymentConfig"] == shift("CANARY")
    assert "PendingDeploymentSummary" not in described
    assert endpoint.models(4) == {"new": 4}


def test_a_linear_shift_goes_step_by_step(local_aws: Any, endpoint: Any, fast_clock: Clock) -> None:
    local_aws.create_endpoint("old", InitialInstanceCount=3)
    local_aws.create_endpoint_config("new", "new", InitialInstanceCount=3)
    size = {"Type": "CAPACITY_PERCENT", "Value": 33}
    endpoint.update("new", DeploymentConfig=shift("LINEAR", size=size))
    seen: list[int] = []

    def is_done() -> bool:
        counted = endpoint.models(6)
        # What is counted while a step is made belongs to neither.
        if counted["new"] in (2, 4, 6) and counted["new"] not in seen:
            seen.append(counted["new"])
        return bool(endpoint.describe()["EndpointStatus"] == "InService")

    local_aws.eventually(is_done)
    assert seen == [2, 4, 6]


def test_an_alarm_while_the_canary_bakes_rolls_back(
    local_aws: Any, endpoint: Any, fast_clock: Clock, alarm: Any
) -> None:
    local_aws.create_endpoint("old", InitialInstanceCount=2)
    before = endpoint.pids()
    local_aws.create_endpoint_config("new", "new", InitialInstanceCount=2)
    endpoint.update("new", DeploymentConfig=shift("CANARY", wait=3600) | ALARMS)
    local_aws.eventually(lambda: endpoint.stage() == "Baking")
    alarm()
    described = local_aws.settled()
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "endpoint-config")
    assert "[errors] went into ALARM state" in described["FailureReason"]
    assert "too many errors" in described["FailureReason"]
    assert described["LastDeploymentConfig"] == shift("CANARY", wait=3600) | ALARMS
    assert endpoint.models(6) == {"old": 6}
    assert endpoint.pids() == before


def test_what_the_new_fleet_is_at_is_finished_while_it_is_rolled_back(
    local_aws: Any, endpoint: Any, fast_clock: Clock, alarm: Any
) -> None:
    local_aws.create_endpoint("old", InitialInstanceCount=2)
    local_aws.create_endpoint_config("new", "new", InitialInstanceCount=2)
    endpoint.update("new", DeploymentConfig=shift("CANARY", wait=3600) | ALARMS)
    local_aws.eventually(lambda: endpoint.stage() == "Baking")
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(endpoint.invoke, b"sleep 1.5") for _ in range(2)]
        [running] = local_aws.gateway._endpoints._endpoints.values()

        def busy() -> int:
            return sum(one.load.outstanding for fleet in running.fleets for one in fleet.instances())

        local_aws.eventually(lambda: busy() == 2)
        alarm()
        described = local_aws.eventually(
            lambda: (found := endpoint.describe())["EndpointStatus"] == "RollingBack" and found
        )
        assert "[errors] went into ALARM state" in described["FailureReason"]
        assert described["EndpointConfigName"] == "endpoint-config"
        assert endpoint.models(4) == {"old": 4}
        assert {call.result()["model"] for call in calls} == {"old", "new"}
    assert local_aws.settled()["EndpointStatus"] == "InService"


def test_variants_are_shifted_side_by_side_each_by_its_own_canary(
    local_aws: Any, endpoint: Any, fast_clock: Clock
) -> None:
    for name in ("a", "b", "c", "d"):
        local_aws.create_endpoint_config(name, name)
    sagemaker = local_aws.client("sagemaker")

    def configure(name: str, *variants: tuple[str, str, int]) -> None:
        shared = {"InstanceType": "ml.c6i.large", "InitialVariantWeight": 1.0}
        sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {**shared, "VariantName": variant, "ModelName": model, "InitialInstanceCount": count}
                for variant, model, count in variants
            ],
        )

    configure("before", ("one", "a", 2), ("two", "b", 4))
    configure("after", ("one", "c", 2), ("two", "d", 4))
    sagemaker.create_endpoint(EndpointName="endpoint", EndpointConfigName="before")
    local_aws.settled()
    endpoint.update("after", DeploymentConfig=shift("CANARY", size={"Type": "CAPACITY_PERCENT", "Value": 50}))
    local_aws.eventually(lambda: endpoint.stage() == "Baking")

    def answers(variant: str, calls: int) -> Counter[str]:
        return Counter(endpoint.invoke(TargetVariant=variant)["model"] for _ in range(calls))

    assert answers("one", 4) == {"a": 2, "c": 2}
    assert answers("two", 8) == {"b": 4, "d": 4}
    described = local_aws.settled()
    assert [one["CurrentInstanceCount"] for one in described["ProductionVariants"]] == [2, 4]
    assert (answers("one", 2), answers("two", 4)) == ({"c": 2}, {"d": 4})


def test_an_alarm_before_the_old_fleet_is_terminated_rolls_back(
    local_aws: Any, endpoint: Any, fast_clock: Clock, alarm: Any
) -> None:
    local_aws.create_endpoint("old")
    local_aws.create_endpoint_config("new", "new")
    endpoint.update("new", DeploymentConfig=shift("ALL_AT_ONCE", wait=0, TerminationWaitInSeconds=3600) | ALARMS)
    local_aws.eventually(lambda: endpoint.invoke()["model"] == "new")
    alarm()
    assert local_aws.settled()["EndpointConfigName"] == "endpoint-config"
    assert endpoint.models(2) == {"old": 2}


def test_an_alarm_that_had_gone_off_before_rolls_back_at_once(
    local_aws: Any, endpoint: Any, fast_clock: Clock, alarm: Any
) -> None:
    local_aws.create_endpoint("old")
    local_aws.create_endpoint_config("new", "new")
    alarm()
    endpoint.update("new", DeploymentConfig=shift("ALL_AT_ONCE", wait=3600) | ALARMS)
    described = local_aws.settled()
    assert described["EndpointConfigName"] == "endpoint-config"
    assert "[errors]" in described["FailureReason"]


def test_an_alarm_that_is_missing_or_hidden_from_the_role_is_refused(local_aws: Any, endpoint: Any, alarm: Any) -> None:
    local_aws.create_endpoint("old")
    missing = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "nothing"}]}}
    with pytest.raises(ClientError, match='Could not find alarm "nothing"'):
        endpoint.update("endpoint-config", DeploymentConfig=shift("ALL_AT_ONCE") | missing)
    local_aws.client("iam").put_role_policy(
        RoleName="endpoint-config-model",
        PolicyName="hidden",
        PolicyDocument=(
            '{"Version": "2012-10-17", "Statement": '
            '{"Effect": "Deny", "Action": "cloudwatch:DescribeAlarms", "Resource": "*"}}'
        ),
    )
    with pytest.raises(ClientError, match="not authorized to perform: cloudwatch:DescribeAlarms"):
        endpoint.update("endpoint-config", DeploymentConfig=shift("ALL_AT_ONCE") | ALARMS)
    assert endpoint.describe()["EndpointStatus"] == "InService"


def test_an_alarm_that_is_deleted_meanwhile_rolls_nothing_back(
    local_aws: Any, endpoint: Any, fast_clock: Clock, alarm: Any
) -> None:
    local_aws.create_endpoint("old")
    local_aws.create_endpoint_config("new", "new")
    endpoint.update("new", DeploymentConfig=shift("ALL_AT_ONCE", wait=90) | ALARMS)
    local_aws.eventually(lambda: endpoint.stage() == "Baking")
    local_aws.client("cloudwatch").delete_alarms(AlarmNames=["errors"])
    assert local_aws.settled()["EndpointConfigName"] == "new"


SCALED = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/endpoint/variant/main",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


@pytest.mark.parametrize("change", [{"InstanceType": "ml.m5.large"}, {"VariantName": "other"}])
def test_a_variant_that_is_scaled_keeps_its_instance_type_and_stays(
    local_aws: Any, endpoint: Any, change: dict[str, Any]
) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html."""
    local_aws.create_endpoint("old")
    local_aws.create_endpoint_config("same", "same")
    local_aws.create_endpoint_config("new", "new", **change)
    scaling = local_aws.client("application-autoscaling")
    scaling.register_scalable_target(**SCALED, MinCapacity=1, MaxCapacity=2)
    with pytest.raises(ClientError, match="The variant main is registered as a scalable target"):
        endpoint.update("new")
    endpoint.update("same")  # another model is no reason
    assert local_aws.settled()["EndpointConfigName"] == "same"
    scaling.deregister_scalable_target(**SCALED)
    endpoint.update("new")
    assert local_aws.settled()["EndpointConfigName"] == "new"


def test_the_old_fleet_is_kept_for_as_long_as_it_shall(local_aws: Any, endpoint: Any, fast_clock: Clock) -> None:
    local_aws.create_endpoint("old")
    [old] = endpoint.pids()
    local_aws.create_endpoint_config("new", "new")
    endpoint.update("new", DeploymentConfig=shift("ALL_AT_ONCE", wait=0, TerminationWaitInSeconds=60))
    local_aws.eventually(lambda: endpoint.invoke()["model"] == "new")
    assert psutil.pid_exists(old)
    assert endpoint.describe()["EndpointStatus"] == "Updating"
    assert local_aws.settled()["EndpointConfigName"] == "new"
    local_aws.eventually(lambda: not psutil.pid_exists(old))


def test_a_deployment_that_takes_too_long_rolls_back(local_aws: Any, endpoint: Any, fast_clock: Clock) -> None:
    fast_clock.speed = 600.0
    local_aws.create_endpoint("old")
    local_aws.create_endpoint_config("new", "new")
    config = shift("ALL_AT_ONCE", wait=3600, MaximumExecutionTimeoutInSeconds=600)
    endpoint.update("new", DeploymentConfig=config)
    described = local_aws.settled()
    assert described["EndpointConfigName"] == "endpoint-config"
    assert "maximum execution timeout of 600 seconds" in described["FailureReason"]


@pytest.mark.parametrize(
    "config", [shift("ALL_AT_ONCE", wait=30), shift("CANARY", wait=30), roll(wait=30)], ids=["all", "canary", "rolling"]
)
@pytest.mark.parametrize("model", ["new", "crash"])
def test_no_request_fails_while_an_endpoint_is_updated(
    local_aws: Any, endpoint: Any, fast_clock: Clock, config: dict[str, Any], model: str
) -> None:
    local_aws.create_endpoint("old", InitialInstanceCount=2)
    local_aws.create_endpoint_config("new", model, InitialInstanceCount=2)
    with Load(lambda: str(endpoint.invoke()["model"]), rate=20) as load:
        endpoint.update("new", DeploymentConfig=config)
        described = local_aws.settled()
        count = len(load.answers)
        local_aws.eventually(lambda: len(load.answers) > count + 5)
    assert load.errors == []
    if model == "crash":
        assert set(load.answers) == {"old"}
        assert "the weights are broken" in described["FailureReason"]
    else:
        assert set(load.answers) == {"old", "new"}
        assert "FailureReason" not in described


def test_a_rolling_update_needs_one_instance_more_at_a_time(local_aws: Any, endpoint: Any, fast_clock: Clock) -> None:
    local_aws.create_endpoint("old", InitialInstanceCount=2)
    local_aws.create_endpoint_config("new", "new", InitialInstanceCount=2)
    most = 0
    endpoint.update("new", DeploymentConfig=roll())

    def is_done() -> bool:
        nonlocal most
        most = max(most, len(endpoint.pids()))
        return bool(endpoint.describe()["EndpointStatus"] == "InService")

    local_aws.eventually(is_done)
    assert most == 3
    assert endpoint.models(4) == {"new": 4}


def test_a_rolling_update_is_rolled_back_to_all_old_instances(
    local_aws: Any, endpoint: Any, fast_clock: Clock, alarm: Any
) -> None:
    local_aws.create_endpoint("old", InitialInstanceCount=2)
    local_aws.create_endpoint_config("new", "new", InitialInstanceCount=2)
    endpoint.update("new", DeploymentConfig=roll(wait=90) | ALARMS)
    [first, second] = endpoint.pids()[:2]
    local_aws.eventually(lambda: not (psutil.pid_exists(first) and psutil.pid_exists(second)))
    alarm()
    described = local_aws.settled()
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "endpoint-config")
    assert endpoint.models(4) == {"old": 4}
    assert len(endpoint.pids()) == 2


def test_a_rollback_that_fails_leaves_a_mix_in_service(
    local_aws: Any, endpoint: Any, fast_clock: Clock, alarm: Any
) -> None:
    local_aws.create_endpoint("old", InitialInstanceCount=2)
    local_aws.create_endpoint_config("new", "new", InitialInstanceCount=2)
    [first, second] = endpoint.pids()
    endpoint.break_model()
    endpoint.update("new", DeploymentConfig=roll(wait=90) | ALARMS)
    local_aws.eventually(lambda: not (psutil.pid_exists(first) and psutil.pid_exists(second)))
    alarm()
    local_aws.eventually(lambda: endpoint.describe()["EndpointStatus"] == "UpdateRollbackFailed")
    assert "The rollback failed" in endpoint.describe()["FailureReason"]
    assert endpoint.models(6).keys() == {"old", "new"}
    local_aws.create_endpoint_config("newer", "newer")
    endpoint.update("newer")
    assert local_aws.settled()["EndpointConfigName"] == "newer"
    local_aws.eventually(lambda: len(endpoint.pids()) == 1)


def test_what_cannot_be_deployed_is_refused(local_aws: Any, endpoint: Any) -> None:
    local_aws.create_endpoint("old")
    with pytest.raises(ClientError, match="at most 50% of the 1 instances"):
        endpoint.update("endpoint-config", DeploymentConfig=shift("CANARY"))
    with pytest.raises(ClientError, match="Could not find endpoint configuration"):
        endpoint.update("nothing")
    assert endpoint.describe()["EndpointStatus"] == "InService"


def test_instance_counts_and_weights_are_retained_where_that_is_asked_for(local_aws: Any, endpoint: Any) -> None:
    local_aws.create_endpoint("old")
    local_aws.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName="endpoint",
        DesiredWeightsAndCapacities=[{"VariantName": "main", "DesiredInstanceCount": 2, "DesiredWeight": 5.0}],
    )
    local_aws.settled()
    local_aws.create_endpoint_config("new", "new", InitialInstanceCount=1, InitialVariantWeight=3.0)
    for options, count, weight in (
        ({"RetainAllVariantProperties": True}, 2, 5.0),
        (
            {
                "RetainAllVariantProperties": True,
                "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredWeight"}],
            },
            *(2, 3.0),
        ),
        ({}, 1, 3.0),
    ):
        endpoint.update("new", **options)
        variant = local_aws.settled()["ProductionVariants"][0]
        assert (variant["DesiredInstanceCount"], variant["CurrentInstanceCount"]) == (count, count)
        assert (variant["DesiredWeight"], variant["CurrentWeight"]) == (weight, weight)


def test_the_last_deployment_configuration_is_told_and_can_be_used_again(local_aws: Any, endpoint: Any) -> None:
    local_aws.create_endpoint_config("config", "good")
    config = shift("ALL_AT_ONCE", wait=0, TerminationWaitInSeconds=0)
    local_aws.client("sagemaker").create_endpoint(
        EndpointName="endpoint", EndpointConfigName="config", DeploymentConfig=config
    )
    assert local_aws.settled()["LastDeploymentConfig"] == config
    endpoint.update("config", RetainDeploymentConfig=True)
    assert local_aws.settled()["LastDeploymentConfig"] == config
    endpoint.update("config")
    assert "LastDeploymentConfig" not in local_aws.settled()
