"""The requests of Spot Instances: moto's RunInstances makes none, so what was asked for cannot be read back.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-requests.html
"""

from __future__ import annotations

from typing import Any

from moto.ec2.models.spot_requests import SpotInstanceRequest
from moto.ec2.utils import random_spot_request_id


class FulfilledRequest(SpotInstanceRequest):
    """A request whose instance is there already.

    Args:
        backend: moto's EC2 in a region.
        instance: moto's record of the instance.
        options: `SpotOptions` of the market options that RunInstances was given.
    """

    def __init__(self, backend: Any, instance: Any, options: dict[str, Any]) -> None:
        self._launched = instance
        super().__init__(
            ec2_backend=backend,
            spot_request_id=random_spot_request_id(),
            price=options.get("MaxPrice", ""),
            image_id=instance.image_id,
            spot_instance_type=options.get("SpotInstanceType", "one-time"),
            valid_from=None,
            valid_until=options.get("ValidUntil"),
            launch_group=None,
            availability_zone_group=None,
            key_name=instance.key_name,
            security_groups=[group.id for group in instance.security_groups],
            user_data=instance.user_data,
            instance_type=instance.instance_type,
            placement=instance.availability_zone,
            kernel_id=None,
            ramdisk_id=None,
            monitoring_enabled=instance.monitored,
            subnet_id=instance.subnet_id,
            tags={},
            spot_fleet_id=None,
            instance_interruption_behaviour=options.get("InstanceInterruptionBehavior"),
        )

    def launch_instance(self) -> Any:
        """The instance; moto would start one."""
        return self._launched


def open_request(backend: Any, instance: Any, options: dict[str, Any]) -> None:
    """Puts the request of an instance on record that RunInstances has started."""
    request = FulfilledRequest(backend, instance, options)
    backend.spot_instance_requests[request.id] = request
    instance.spot_instance_request_id = request.id


def close_request(backend: Any, instance: Any) -> None:
    """Closes the request of an instance that TerminateInstances has ended; other instances have none.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instances-request-status-lifecycle.html
    """
    request = backend.spot_instance_requests.get(getattr(instance, "spot_instance_request_id", None))
    if request is not None:
        request.state, request._status_code = "closed", "instance-terminated-by-user"
