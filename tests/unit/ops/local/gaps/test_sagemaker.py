from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::123456789012:role/role"


@pytest.fixture(autouse=True)
def role(local_aws: Any) -> None:
    local_aws.create_role("role", local_aws.allow("logs:*"))


@pytest.mark.parametrize("isolated", [True, False])
def test_a_model_keeps_its_network_isolation_and_has_no_empty_vpc(local_aws: Any, isolated: bool) -> None:
    sagemaker = local_aws.client("sagemaker")
    container = {"Image": "image", "ModelDataUrl": "s3://models/model.tar.gz"}
    sagemaker.create_model(
        ModelName="model", ExecutionRoleArn=ROLE, PrimaryContainer=container, EnableNetworkIsolation=isolated
    )
    described = sagemaker.describe_model(ModelName="model")
    assert described["EnableNetworkIsolation"] is isolated
    assert "VpcConfig" not in described


def test_instance_types_are_those_of_aws(local_aws: Any) -> None:
    sagemaker = local_aws.client("sagemaker")
    sagemaker.create_model(ModelName="model", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "image"})

    def create(instance_type: str) -> None:
        variant = {
            "VariantName": "main",
            "ModelName": "model",
            "InitialInstanceCount": 1,
            "InstanceType": instance_type,
        }
        sagemaker.create_endpoint_config(
            EndpointConfigName=instance_type.replace(".", "-"), ProductionVariants=[variant]
        )

    create("ml.c6i.large")
    with pytest.raises(
        ClientError,
        match=r"Value 'ml\.dog\.large' at 'productionVariants\.1\.member\.instanceType' failed to satisfy constraint",
    ):
        create("ml.dog.large")


def test_a_model_tells_what_it_was_given(local_aws: Any) -> None:
    sagemaker = local_aws.client("sagemaker")
    containers = [{"Image": "first", "ContainerHostname": "a"}, {"Image": "second", "ContainerHostname": "b"}]
    created = sagemaker.create_model(
        ModelName="model",
        ExecutionRoleArn=ROLE,
        Containers=containers,
        InferenceExecutionConfig={"Mode": "Serial"},
        VpcConfig={"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        Tags=[{"Key": "a", "Value": "1"}],
    )
    described = sagemaker.describe_model(ModelName="model")
    assert described["ModelArn"] == created["ModelArn"]
    assert (described["Containers"], described["InferenceExecutionConfig"]) == (containers, {"Mode": "Serial"})
    assert described["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}


def test_every_kind_of_resource_has_tags_of_which_each_key_is_there_once(local_aws: Any) -> None:
    sagemaker = local_aws.client("sagemaker")
    tags = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "1"}]
    arns = [
        sagemaker.create_model(ModelName="model", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "i"}, Tags=tags)[
            "ModelArn"
        ],
        sagemaker.create_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName="config", Tags=tags)[
            "NotebookInstanceLifecycleConfigArn"
        ],
        sagemaker.create_notebook_instance(
            NotebookInstanceName="notebook", InstanceType="ml.t3.medium", RoleArn=ROLE, Tags=tags
        )["NotebookInstanceArn"],
        sagemaker.create_model_package_group(ModelPackageGroupName="dogs", Tags=tags)["ModelPackageGroupArn"],
    ]
    for arn in arns:
        told = sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "2"}, {"Key": "c", "Value": "3"}])
        sagemaker.delete_tags(ResourceArn=arn, TagKeys=["b"])
        assert {"Key": "b", "Value": "1"} in told["Tags"]
        left = sagemaker.list_tags(ResourceArn=arn)["Tags"]
        assert left == [{"Key": "a", "Value": "2"}, {"Key": "c", "Value": "3"}]


def test_what_is_not_there_has_no_tags(local_aws: Any) -> None:
    with pytest.raises(ClientError, match="Could not find resource"):
        local_aws.client("sagemaker").list_tags(ResourceArn="arn:aws:sagemaker:us-east-1:123456789012:model/none")
