from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::123456789012:role/role"


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


def test_the_deep_learning_ami_is_found_through_its_public_parameter(local_aws: Any) -> None:
    name = "/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.5-ubuntu-22.04/latest/ami-id"
    for _ in range(2):
        ami = local_aws.client("ssm").get_parameter(Name=name)["Parameter"]["Value"]
    [image] = local_aws.client("ec2").describe_images(ImageIds=[ami])["Images"]
    assert image["Name"].startswith("Deep Learning OSS Nvidia Driver AMI GPU PyTorch 2.5")
    assert (image["Architecture"], image["ImageOwnerAlias"]) == ("x86_64", "amazon")


def test_changing_an_attribute_of_an_instance_leaves_its_security_groups(local_aws: Any) -> None:
    ec2 = local_aws.client("ec2")
    groups = [ec2.create_security_group(GroupName=name, Description=name)["GroupId"] for name in ("a", "b")]
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    run = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SecurityGroupIds=groups[:1])
    instance = run["Instances"][0]["InstanceId"]

    def groups_now() -> list[str]:
        [reservation] = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
        return [group["GroupId"] for group in reservation["Instances"][0]["SecurityGroups"]]

    ec2.modify_instance_attribute(InstanceId=instance, InstanceInitiatedShutdownBehavior={"Value": "stop"})
    assert groups_now() == groups[:1]
    ec2.modify_instance_attribute(InstanceId=instance, Groups=groups[1:])
    assert groups_now() == groups[1:]


def test_a_bucket_that_asks_for_tls_can_be_used(local_aws: Any) -> None:
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket="photos")
    s3.put_bucket_policy(
        Bucket="photos",
        Policy='{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*",'
        ' "Resource": ["arn:aws:s3:::photos", "arn:aws:s3:::photos/*"],'
        ' "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}',
    )
    s3.put_object(Bucket="photos", Key="a", Body=b"1")
    assert s3.get_object(Bucket="photos", Key="a")["Body"].read() == b"1"
