from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def scalable_target(local_aws: Any) -> str:
    target: str = local_aws.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId="endpoint/endpoint/variant/main",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        MinCapacity=1,
        MaxCapacity=5,
        Tags={"team": "dogs"},
    )["ScalableTargetARN"]
    return target


def test_scaling_tags(local_aws: Any, scalable_target: str) -> None:
    scaling = local_aws.client("application-autoscaling")

    def tags() -> Any:
        return scaling.list_tags_for_resource(ResourceARN=scalable_target)["Tags"]

    assert tags() == {"team": "dogs"}
    scaling.tag_resource(ResourceARN=scalable_target, Tags={"stage": "local"})
    assert tags() == {"team": "dogs", "stage": "local"}
    scaling.untag_resource(ResourceARN=scalable_target, TagKeys=["team"])
    assert tags() == {"stage": "local"}


def test_scaling_tags_go_with_a_reset(local_aws: Any, scalable_target: str) -> None:
    local_aws.gateway.reset()
    tags = local_aws.client("application-autoscaling").list_tags_for_resource(ResourceARN=scalable_target)
    assert tags["Tags"] == {}
