"""What Application Auto Scaling can scale: https://docs.aws.amazon.com/autoscaling/application/APIReference/API_ScalableTarget.html."""

from __future__ import annotations

from typing import Protocol


class Scalable(Protocol):
    """One scalable dimension of one service, such as `sagemaker:variant:DesiredInstanceCount`."""

    def capacity(self, region: str, resource_id: str) -> int | None:
        """The desired capacity of a resource, such as `endpoint/NAME/variant/NAME`; None where there is none."""
        ...

    def set_capacity(self, region: str, resource_id: str, capacity: int) -> None:
        """Changes the desired capacity; returns before it is reached.

        Raises:
            AwsError: it cannot be changed now, as while the resource is being updated. The text says why.
        """
        ...
