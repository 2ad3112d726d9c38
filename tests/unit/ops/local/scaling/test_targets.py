from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError


def test_a_target_reads_back_as_it_was_registered(scaled: Any) -> None:
    target = scaled.target()
    assert {name: target[name] for name in scaled.key} == scaled.key
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 5)
    assert target["RoleARN"].endswith("AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint")
    assert set(target["SuspendedState"].values()) == {False}
    answered = scaled.register(MaxCapacity=7, SuspendedState={"ScheduledScalingSuspended": True})
    changed = scaled.target()
    assert answered["ScalableTargetARN"] == changed["ScalableTargetARN"] == target["ScalableTargetARN"]
    assert (changed["MinCapacity"], changed["MaxCapacity"]) == (1, 7)
    assert changed["SuspendedState"] == {
        "DynamicScalingInSuspended": False,
        "DynamicScalingOutSuspended": False,
        "ScheduledScalingSuspended": True,
    }
    assert changed["CreationTime"] == target["CreationTime"]


def test_the_tags_of_a_target(scaled: Any) -> None:
    arn = scaled.target()["ScalableTargetARN"]
    assert scaled.client.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"team": "a"}
    scaled.client.tag_resource(ResourceARN=arn, Tags={"stage": "dev"})
    scaled.client.untag_resource(ResourceARN=arn, TagKeys=["team", "never was"])
    assert scaled.client.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"stage": "dev"}
    with pytest.raises(scaled.client.exceptions.ResourceNotFoundException):
        scaled.client.list_tags_for_resource(ResourceARN=f"{arn}0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ResourceId": "endpoint/none/variant/main"}, "does not exist: endpoint/none/variant/main"),
        ({"ResourceId": "endpoint/endpoint/variant/other"}, "does not exist"),
        ({"MinCapacity": 6}, "Maximum capacity cannot be less than minimum capacity"),
        ({"MinCapacity": -1}, "Minimum capacity cannot be less than 0"),
        ({"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}, "does not scale"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused(scaled: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(scaled.client.exceptions.ValidationException, match=message):
        scaled.client.register_scalable_target(**scaled.key | {"MinCapacity": 1, "MaxCapacity": 5} | change)
    assert (scaled.target()["MinCapacity"], scaled.target()["MaxCapacity"]) == (1, 5)


def test_a_new_target_needs_both_bounds(scaled: Any) -> None:
    scaled.client.deregister_scalable_target(**scaled.key)
    with pytest.raises(scaled.client.exceptions.ValidationException, match="MinCapacity and MaxCapacity must be"):
        scaled.register(MinCapacity=1)


@pytest.mark.parametrize(
    ("bounds", "count", "cause"),
    [
        ({"MinCapacity": 2}, 2, "minimum capacity was set to 2"),
        ({"MinCapacity": 0, "MaxCapacity": 1}, 1, "maximum capacity was set to 1"),
    ],
)
def test_a_capacity_outside_of_the_bounds_is_moved_into_them(
    local_aws: Any, scaled: Any, bounds: dict[str, int], count: int, cause: str
) -> None:
    if count == 1:
        local_aws.client("sagemaker").update_endpoint_weights_and_capacities(
            EndpointName="endpoint", DesiredWeightsAndCapacities=[{"VariantName": "main", "DesiredInstanceCount": 2}]
        )
        local_aws.settled()
    scaled.register(**bounds)
    scaled.wait_for(count)
    [activity] = scaled.activities()
    assert activity["Description"] == f"Setting desired instance count to {count}."
    assert activity["Cause"] == cause
    assert activity["StatusCode"] == "Successful"
    assert activity["StatusMessage"] == (
        f"Successfully set desired instance count to {count}. Change successfully fulfilled by sagemaker."
    )
    assert activity["StartTime"] <= activity["EndTime"]


def test_the_capacity_of_an_endpoint_that_is_not_active_is_left_alone(local_aws: Any, scaled: Any) -> None:
    """https://docs.aws.amazon.com/autoscaling/application/APIReference/API_RegisterScalableTarget.html."""
    local_aws.create_endpoint_config("slow", "healthy after 1")
    local_aws.client("sagemaker").update_endpoint(EndpointName="endpoint", EndpointConfigName="slow")
    scaled.register(MinCapacity=2)
    assert local_aws.settled()["ProductionVariants"][0]["DesiredInstanceCount"] == 1
    assert scaled.activities() == []
    scaled.register()  # as any further registration does, whatever it changes
    scaled.wait_for(2)


def test_targets_are_found_by_resource_and_come_in_pages(local_aws: Any) -> None:
    local_aws.create_endpoint_config("model", "good")
    variant = {"ModelName": "model", "InstanceType": "ml.c6i.large", "InitialInstanceCount": 1}
    sagemaker, scaling = local_aws.client("sagemaker"), local_aws.client("application-autoscaling")
    sagemaker.create_endpoint_config(
        EndpointConfigName="three", ProductionVariants=[variant | {"VariantName": name} for name in "abc"]
    )
    sagemaker.create_endpoint(EndpointName="endpoint", EndpointConfigName="three")
    local_aws.settled()
    names = [f"endpoint/endpoint/variant/{name}" for name in "abc"]
    dimension = "sagemaker:variant:DesiredInstanceCount"
    for name in names:
        scaling.register_scalable_target(
            ServiceNamespace="sagemaker", ResourceId=name, ScalableDimension=dimension, MinCapacity=1, MaxCapacity=2
        )

    def found(**options: Any) -> list[list[str]]:
        pages = scaling.get_paginator("describe_scalable_targets").paginate(ServiceNamespace="sagemaker", **options)
        return [[target["ResourceId"] for target in page["ScalableTargets"]] for page in pages]

    assert found(PaginationConfig={"PageSize": 2}) == [names[:2], names[2:]]
    assert found(ResourceIds=[names[2], names[0], "nothing"], ScalableDimension=dimension) == [[names[0], names[2]]]
    assert scaling.describe_scalable_targets(ServiceNamespace="lambda")["ScalableTargets"] == []


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"NextToken": "not one of these"}, "InvalidNextTokenException"),
        ({"MaxResults": 51}, "ValidationException"),
        ({"ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}, "ValidationException"),
    ],
)
@pytest.mark.parametrize(
    "operation",
    [
        "describe_scalable_targets",
        "describe_scaling_activities",
        "describe_scaling_policies",
        "describe_scheduled_actions",
    ],
)
def test_what_cannot_be_asked_for_is_refused(
    local_aws: Any, operation: str, options: dict[str, Any], code: str
) -> None:
    describe = getattr(local_aws.client("application-autoscaling"), operation)
    with pytest.raises(ClientError) as refused:
        describe(ServiceNamespace="sagemaker", **options)
    assert refused.value.response["Error"]["Code"] == code


def test_a_target_takes_its_policies_alarms_and_schedules_along_but_not_its_past(scaled: Any) -> None:
    scaled.put_tracking()
    scaled.client.put_scheduled_action(
        **scaled.key,
        ScheduledActionName="later",
        Schedule="rate(1 day)",
        ScalableTargetAction={"MinCapacity": 1},
    )
    scaled.register(MinCapacity=2)
    scaled.wait_for(2)
    scaled.client.deregister_scalable_target(**scaled.key)
    found = scaled.client.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (found, scaled.policies(), scaled.actions(), scaled.alarms()) == ([], [], [], [])
    assert len(scaled.activities()) == 1
    with pytest.raises(scaled.client.exceptions.ObjectNotFoundException) as missing:
        scaled.client.deregister_scalable_target(**scaled.key)
    assert missing.value.response["Error"]["Message"] == (
        "No scalable target registered for service namespace: sagemaker, resource ID: endpoint/endpoint/variant/main, "
        "scalable dimension: sagemaker:variant:DesiredInstanceCount"
    )


def test_a_target_goes_with_its_endpoint(local_aws: Any, scaled: Any) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-delete-with-scaling.html."""
    scaled.put_tracking()
    local_aws.client("sagemaker").delete_endpoint(EndpointName="endpoint")
    local_aws.eventually(lambda: scaled.alarms() == [])
    assert scaled.client.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []


def test_all_that_is_registered_survives_a_restart(local_aws: Any, scaled: Any) -> None:
    scaled.register(SuspendedState={"DynamicScalingInSuspended": True})
    policy = scaled.put_backlog_tracking()
    scaled.client.put_scheduled_action(
        **scaled.key, ScheduledActionName="later", Schedule="rate(1 day)", ScalableTargetAction={"MinCapacity": 1}
    )
    scaled.raise_alarm(policy["Alarms"][0]["AlarmName"], 20.0)
    scaled.wait_for(2)

    def told() -> tuple[Any, ...]:
        return scaled.target(), scaled.policies(), scaled.actions(), scaled.activities()

    before = told()
    local_aws.gateway.stop()
    local_aws.gateway._begin()
    assert told() == before
    local_aws.settled()
    scaled.raise_alarm(policy["Alarms"][0]["AlarmName"], 40.0)
    # Within the cooldown, so it is counted from the one instance that there was.
    scaled.wait_for(4)
