from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.load import Load
from whippet.local.calls import AwsError

RESOURCE = "endpoint/endpoint/variant/main"


def change(local_aws: Any, *variants: dict[str, Any]) -> None:
    local_aws.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName="endpoint", DesiredWeightsAndCapacities=list(variants)
    )


def test_instances_come_and_go_while_the_others_serve(local_aws: Any, endpoint: Any) -> None:
    local_aws.create_endpoint()
    with Load(lambda: str(endpoint.invoke()["pid"]), rate=20) as load:
        for count in (3, 1):
            change(local_aws, {"VariantName": "main", "DesiredInstanceCount": count})
            described = local_aws.settled()
            variant = described["ProductionVariants"][0]
            assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (count, count)
            assert len(endpoint.pids()) == count
            local_aws.eventually(lambda: len(set(load.answers)) == 3)
    assert load.errors == []


def test_an_endpoint_tells_what_it_has_and_what_it_shall_have(local_aws: Any, endpoint: Any) -> None:
    local_aws.create_endpoint("healthy after 1")
    change(local_aws, {"VariantName": "main", "DesiredInstanceCount": 2})
    described = endpoint.describe()
    assert described["EndpointStatus"] == "Updating"
    variant = described["ProductionVariants"][0]
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (1, 2)
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        change(local_aws, {"VariantName": "main", "DesiredInstanceCount": 3})
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        endpoint.update("endpoint-config")
    assert local_aws.settled()["ProductionVariants"][0]["CurrentInstanceCount"] == 2


def test_instances_that_do_not_become_healthy_are_rolled_back(local_aws: Any, endpoint: Any) -> None:
    local_aws.create_endpoint()
    before = endpoint.pids()
    endpoint.break_model()
    change(local_aws, {"VariantName": "main", "DesiredInstanceCount": 2})
    described = local_aws.settled()
    assert described["EndpointStatus"] == "InService"
    assert "the weights are broken" in described["FailureReason"]
    variant = described["ProductionVariants"][0]
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (1, 1)
    assert endpoint.pids() == before


def test_weights_shift_traffic_between_variants(local_aws: Any, endpoint: Any) -> None:
    for name in ("a", "b"):
        local_aws.create_endpoint_config(name, name)
    variants = [
        {"VariantName": name, "ModelName": name, "InstanceType": "ml.c6i.large", "InitialInstanceCount": 1}
        | {"InitialVariantWeight": weight}
        for name, weight in (("a", 1.0), ("b", 0.0))
    ]
    sagemaker = local_aws.client("sagemaker")
    sagemaker.create_endpoint_config(EndpointConfigName="both", ProductionVariants=variants)
    sagemaker.create_endpoint(EndpointName="endpoint", EndpointConfigName="both")
    local_aws.settled()
    assert endpoint.models(5) == {"a": 5}
    assert endpoint.invoke(TargetVariant="b")["model"] == "b"
    change(local_aws, {"VariantName": "a", "DesiredWeight": 1.0}, {"VariantName": "b", "DesiredWeight": 3.0})
    told = {one["VariantName"]: one["CurrentWeight"] for one in local_aws.settled()["ProductionVariants"]}
    assert told == {"a": 1.0, "b": 3.0}
    counted: Counter[str] = endpoint.models(80)
    assert 45 <= counted["b"] <= 75


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ([{"VariantName": "other", "DesiredInstanceCount": 1}], "not present within endpoint configuration"),
        ([{"VariantName": "main", "DesiredInstanceCount": 0}], "at least one instance"),
        ([{"VariantName": "main"}, {"VariantName": "main"}], "non-unique within the request"),
    ],
)
def test_what_a_variant_cannot_have_is_refused(
    local_aws: Any, endpoint: Any, variants: list[dict[str, Any]], message: str
) -> None:
    local_aws.create_endpoint()
    with pytest.raises(ClientError, match=message):
        change(local_aws, *variants)
    assert endpoint.describe()["EndpointStatus"] == "InService"


def test_application_auto_scaling_scales_a_variant(local_aws: Any, endpoint: Any) -> None:
    local_aws.create_endpoint()
    scalable = local_aws.gateway._endpoints.capacity
    assert scalable.capacity("us-east-1", RESOURCE) == 1
    scalable.set_capacity("us-east-1", RESOURCE, 2)
    assert scalable.capacity("us-east-1", RESOURCE) == 2
    assert endpoint.describe()["EndpointStatus"] == "Updating"
    local_aws.eventually(lambda: not scalable.is_changing("us-east-1", RESOURCE))
    assert endpoint.variant()["CurrentInstanceCount"] == 2


def test_what_is_not_there_cannot_be_scaled(local_aws: Any) -> None:
    scalable = local_aws.gateway._endpoints.capacity
    local_aws.create_endpoint()
    for resource in ("endpoint/other/variant/main", "endpoint/endpoint/variant/other", "nonsense"):
        assert scalable.capacity("us-east-1", resource) is None
        with pytest.raises(AwsError):
            scalable.set_capacity("us-east-1", resource, 2)
