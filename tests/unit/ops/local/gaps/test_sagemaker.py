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


def test_data_capture_is_told_only_where_it_is_configured(local_aws: Any) -> None:
    sagemaker = local_aws.client("sagemaker")
    local_aws.create_endpoint(name="plain")
    assert "DataCaptureConfig" not in sagemaker.describe_endpoint_config(EndpointConfigName="plain-config")
    assert "DataCaptureConfig" not in sagemaker.describe_endpoint(EndpointName="plain")
    sagemaker.create_endpoint_config(
        EndpointConfigName="capturing",
        ProductionVariants=[
            {
                "VariantName": "main",
                "ModelName": "plain-config",
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
            }
        ],
        DataCaptureConfig={
            "EnableCapture": True,
            "InitialSamplingPercentage": 20,
            "DestinationS3Uri": "s3://models/captured",
            "CaptureOptions": [{"CaptureMode": "Input"}],
        },
    )
    described = sagemaker.describe_endpoint_config(EndpointConfigName="capturing")
    assert described["DataCaptureConfig"]["InitialSamplingPercentage"] == 20


def test_an_endpoint_tells_how_it_was_deployed(local_aws: Any) -> None:
    sagemaker = local_aws.client("sagemaker")
    local_aws.create_endpoint()
    assert "LastDeploymentConfig" not in sagemaker.describe_endpoint(EndpointName="endpoint")
    routing = {"TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}}
    sagemaker.update_endpoint(
        EndpointName="endpoint",
        EndpointConfigName="endpoint-config",
        DeploymentConfig={"BlueGreenUpdatePolicy": routing},
    )
    assert local_aws.settled()["LastDeploymentConfig"]["BlueGreenUpdatePolicy"] == routing


def test_a_model_package_group_can_be_deleted(local_aws: Any) -> None:
    sagemaker = local_aws.client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="dogs")
    sagemaker.delete_model_package_group(ModelPackageGroupName="dogs")
    assert sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"] == []
    with pytest.raises(ClientError, match="does not exist"):
        sagemaker.delete_model_package_group(ModelPackageGroupName="dogs")


def test_a_notebook_instance_keeps_what_it_is_given_and_can_be_changed_once_stopped(local_aws: Any) -> None:
    sagemaker = local_aws.client("sagemaker")
    sagemaker.create_notebook_instance(
        NotebookInstanceName="notebook",
        InstanceType="ml.t3.medium",
        RoleArn=ROLE,
        PlatformIdentifier="notebook-al2-v3",
        InstanceMetadataServiceConfiguration={"MinimumInstanceMetadataServiceVersion": "2"},
    )
    described = sagemaker.describe_notebook_instance(NotebookInstanceName="notebook")
    assert described["PlatformIdentifier"] == "notebook-al2-v3"
    assert described["InstanceMetadataServiceConfiguration"] == {"MinimumInstanceMetadataServiceVersion": "2"}
    change = {"NotebookInstanceName": "notebook", "InstanceType": "ml.t3.large", "VolumeSizeInGB": 20}
    with pytest.raises(ClientError, match=r"not in \(\[Stopped, Failed\]\)"):
        sagemaker.update_notebook_instance(**change)
    sagemaker.stop_notebook_instance(NotebookInstanceName="notebook")
    sagemaker.update_notebook_instance(**change)
    described = sagemaker.describe_notebook_instance(NotebookInstanceName="notebook")
    assert (described["InstanceType"], described["VolumeSizeInGB"]) == ("ml.t3.large", 20)
    assert described["PlatformIdentifier"] == "notebook-al2-v3"


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
    with pytest.raises(ClientError, match=r"Value 'ml\.dog\.large' at 'instanceType' failed to satisfy constraint"):
        create("ml.dog.large")
