from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

SPECIFICATION = {
    "Containers": [{"Image": "image", "ModelDataUrl": "s3://models/model.tar.gz"}],
    "SupportedContentTypes": ["image/jpeg"],
    "SupportedResponseMIMETypes": ["application/json"],
}


@pytest.fixture
def registry(local_aws: Any) -> Any:
    """A client, and an empty group."""
    client = local_aws.client("sagemaker")
    client.create_model_package_group(ModelPackageGroupName="dogs")
    return client


def register(registry: Any, **options: Any) -> str:
    """Adds a version to the group; its ARN."""
    created = registry.create_model_package(
        ModelPackageGroupName="dogs", InferenceSpecification=SPECIFICATION, **options
    )
    arn: str = created["ModelPackageArn"]
    return arn


def test_a_model_package_group_can_be_deleted(registry: Any) -> None:
    registry.delete_model_package_group(ModelPackageGroupName="dogs")
    assert registry.list_model_package_groups()["ModelPackageGroupSummaryList"] == []
    with pytest.raises(ClientError, match="does not exist"):
        registry.delete_model_package_group(ModelPackageGroupName="dogs")


def test_a_version_waits_for_approval_unless_it_is_said(registry: Any) -> None:
    statuses = {"PendingManualApproval": {}, "Approved": {"ModelApprovalStatus": "Approved"}}
    for status, options in statuses.items():
        described = registry.describe_model_package(ModelPackageName=register(registry, **options))
        assert described["ModelApprovalStatus"] == status


@pytest.mark.parametrize(("deleted", "left"), [("1", "2"), ("2", "1")])
def test_the_number_of_a_version_is_never_given_again(registry: Any, deleted: str, left: str) -> None:
    arns = {arn.rpartition("/")[2]: arn for arn in (register(registry), register(registry))}
    registry.delete_model_package(ModelPackageName=arns[deleted])
    third = register(registry)
    assert third == "arn:aws:sagemaker:us-east-1:123456789012:model-package/dogs/3"
    assert registry.describe_model_package(ModelPackageName=third)["ModelPackageVersion"] == 3
    listed = registry.list_model_packages(ModelPackageGroupName="dogs")["ModelPackageSummaryList"]
    assert {one["ModelPackageArn"] for one in listed} == {arns[left], third}


def test_updating_one_thing_of_a_version_leaves_the_others(registry: Any) -> None:
    arn = register(registry, CustomerMetadataProperties={"a": "1", "b": "1"})
    registry.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved", ApprovalDescription="good")
    registry.update_model_package(
        ModelPackageArn=arn, CustomerMetadataProperties={"c": "2"}, CustomerMetadataPropertiesToRemove=["a"]
    )
    described = registry.describe_model_package(ModelPackageName=arn)
    assert (described["ModelApprovalStatus"], described["ApprovalDescription"]) == ("Approved", "good")
    assert described["CustomerMetadataProperties"] == {"b": "1", "c": "2"}


def test_a_group_with_versions_stays(registry: Any) -> None:
    arn = register(registry)
    with pytest.raises(registry.exceptions.ConflictException):
        registry.delete_model_package_group(ModelPackageGroupName="dogs")
    registry.delete_model_package(ModelPackageName=arn)
    with pytest.raises(ClientError, match="does not exist"):
        registry.delete_model_package(ModelPackageName=arn)
    registry.delete_model_package_group(ModelPackageGroupName="dogs")


def test_a_group_has_a_policy_until_it_is_deleted(registry: Any) -> None:
    named = {"ModelPackageGroupName": "dogs"}
    with pytest.raises(ClientError, match="Cannot find resource policy"):
        registry.get_model_package_group_policy(**named)
    registry.put_model_package_group_policy(**named, ResourcePolicy="{}")
    assert registry.get_model_package_group_policy(**named)["ResourcePolicy"] == "{}"
    registry.delete_model_package_group_policy(**named)
    with pytest.raises(ClientError, match="Cannot find resource policy"):
        registry.get_model_package_group_policy(**named)
