"""The Deep Learning AMIs that AWS publishes, and the public parameters that name the latest of each family.

https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ssm.models import Parameter, ssm_backends

from whippet.local.settings import ACCOUNT

PREFIX = "/aws/service/deeplearning/ami/"
#: The account that owns them.
OWNER = "898082745236"
#: A made-up release. AWS has one of most families about every month, each with ids of its own.
RELEASED = datetime(2026, 1, 8, tzinfo=UTC)

#: What a parameter calls an operating system, what an AMI's name calls it, and its root device:
#: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html
SYSTEMS = {
    "ubuntu-22.04": ("Ubuntu 22.04", "/dev/sda1"),
    "ubuntu-24.04": ("Ubuntu 24.04", "/dev/sda1"),
    "amazon-linux-2023": ("Amazon Linux 2023", "/dev/xvda"),
}
#: PyTorch's versions, and the systems that each comes on:
#: https://docs.aws.amazon.com/dlami/latest/devguide/appendix-ami-release-notes.html
PYTORCH = {
    "2.5": ("ubuntu-22.04", "amazon-linux-2023"),
    "2.6": ("ubuntu-22.04", "amazon-linux-2023"),
    "2.7": ("ubuntu-22.04", "amazon-linux-2023"),
    "2.9": ("ubuntu-24.04", "amazon-linux-2023"),
    "2.10": ("ubuntu-24.04", "amazon-linux-2023"),
}
#: What the name of an AMI says of the processor.
PROCESSORS = {"x86_64": "", "arm64": "ARM64 "}


@dataclass(frozen=True)
class Image:
    """The latest AMI of one family.

    Attributes:
        family: as in `base-oss-nvidia-driver-gpu-ubuntu-22.04`.
        architecture: x86_64 or arm64.
        name: of the AMI.
        root_device: its root device's name.
    """

    family: str
    architecture: str
    name: str
    root_device: str

    @property
    def parameter(self) -> str:
        """The public parameter whose value is the AMI's id."""
        return f"{PREFIX}{self.architecture}/{self.family}/latest/ami-id"

    def id(self, region: str) -> str:
        """The AMI's id, which differs from region to region; made up, and always the same."""
        return "ami-" + hashlib.sha256(f"{region} {self.name}".encode()).hexdigest()[:17]


def _images() -> Iterator[Image]:
    for architecture, processor in PROCESSORS.items():
        for system, (system_name, device) in SYSTEMS.items():
            released = f"({system_name}) {RELEASED:%Y%m%d}"
            bases = {
                "base-oss-nvidia-driver-gpu": f"Deep Learning {processor}Base OSS Nvidia Driver GPU AMI {released}",
                "base-with-single-cuda": f"Deep Learning {processor}Base AMI with Single CUDA {released}",
            }
            for family, name in bases.items():
                yield Image(f"{family}-{system}", architecture, name, device)
            for version in (version for version, systems in PYTORCH.items() if system in systems):
                family = f"oss-nvidia-driver-gpu-pytorch-{version}-{system}"
                name = f"Deep Learning {processor}{'AMI ' if processor else ''}OSS Nvidia Driver "
                name += f"{'' if processor else 'AMI '}GPU PyTorch {version} {released}"
                yield Image(family, architecture, name, device)


IMAGES = tuple(_images())


def publish(region: str) -> None:
    """Adds the AMIs and their parameters to what moto has in a region, unless they are there."""
    backend, parameters = ec2_backends[ACCOUNT][region], ssm_backends[ACCOUNT][region]._parameters
    for image in IMAGES:
        if image.parameter not in parameters:
            parameters[image.parameter].append(_parameter(image, region))
        if image.id(region) not in backend.amis:
            backend.amis[image.id(region)] = _ami(image, region)


def _parameter(image: Image, region: str) -> Parameter:
    return Parameter(  # type: ignore[abstract]
        account_id=ACCOUNT,
        name=image.parameter,
        value=image.id(region),
        parameter_type="String",
        description=None,
        allowed_pattern=None,
        keyid=None,
        last_modified_date=RELEASED,
        version=1,
        data_type="aws:ec2:image",
    )


def _ami(image: Image, region: str) -> Ami:
    return Ami(
        ec2_backends[ACCOUNT][region],
        image.id(region),
        name=image.name,
        owner_id=OWNER,
        owner_alias="amazon",
        public=True,
        virtualization_type="hvm",
        architecture=image.architecture,
        creation_date=RELEASED,
        hypervisor="xen",
        root_device_type="ebs",
        root_device_name=image.root_device,
        region_name=f"{region}a",
    )
