from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

PREFIX = "/aws/service/deeplearning/ami"


@pytest.mark.parametrize(
    ("family", "architecture", "name"),
    [
        (
            "oss-nvidia-driver-gpu-pytorch-2.5-ubuntu-22.04",
            "x86_64",
            "Deep Learning OSS Nvidia Driver AMI GPU PyTorch 2.5 (Ubuntu 22.04)",
        ),
        (
            "oss-nvidia-driver-gpu-pytorch-2.7-amazon-linux-2023",
            "arm64",
            "Deep Learning ARM64 AMI OSS Nvidia Driver GPU PyTorch 2.7 (Amazon Linux 2023)",
        ),
        (
            "base-oss-nvidia-driver-gpu-ubuntu-24.04",
            "arm64",
            "Deep Learning ARM64 Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04)",
        ),
        (
            "base-with-single-cuda-amazon-linux-2023",
            "x86_64",
            "Deep Learning Base AMI with Single CUDA (Amazon Linux 2023)",
        ),
    ],
)
def test_a_deep_learning_ami_is_found_through_its_public_parameter(
    local_aws: Any, family: str, architecture: str, name: str
) -> None:
    parameter = f"{PREFIX}/{architecture}/{family}/latest/ami-id"
    found = local_aws.client("ssm").get_parameter(Name=parameter)["Parameter"]
    assert found["DataType"] == "aws:ec2:image"
    [image] = local_aws.client("ec2").describe_images(ImageIds=[found["Value"]])["Images"]
    assert image["Name"].rpartition(" ")[0] == name
    assert (image["Architecture"], image["ImageOwnerAlias"]) == (architecture, "amazon")


def test_the_latest_ami_of_a_family_is_found_by_its_name(local_aws: Any) -> None:
    named = {"Name": "name", "Values": ["Deep Learning OSS Nvidia Driver AMI GPU PyTorch 2.? (Ubuntu 22.04) ????????"]}
    images = local_aws.client("ec2").describe_images(Owners=["amazon"], Filters=[named])["Images"]
    assert len(images) == 3


def test_public_parameters_are_listed_by_path(local_aws: Any) -> None:
    pages = local_aws.client("ssm").get_paginator("get_parameters_by_path")
    found = [one for page in pages.paginate(Path=f"{PREFIX}/arm64", Recursive=True) for one in page["Parameters"]]
    assert len(found) > 10
    assert all(one["Name"].startswith(f"{PREFIX}/arm64/") for one in found)


def test_a_public_parameter_that_is_none_is_not_found(local_aws: Any) -> None:
    with pytest.raises(ClientError) as refused:
        local_aws.client("ssm").get_parameter(Name=f"{PREFIX}/x86_64/dogs/latest/ami-id")
    assert refused.value.response["Error"]["Code"] == "ParameterNotFound"


def test_public_parameters_are_not_among_the_accounts_own(local_aws: Any) -> None:
    ssm = local_aws.client("ssm")
    ssm.put_parameter(Name="/dogs/model", Type="String", Value="s3://models/model.tar.gz")
    ssm.get_parameters_by_path(Path=f"{PREFIX}/arm64", Recursive=True)
    assert [one["Name"] for one in ssm.describe_parameters()["Parameters"]] == ["/dogs/model"]
