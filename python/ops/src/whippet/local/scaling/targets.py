"""What Application Auto Scaling scales, and what it keeps on record.

https://docs.aws.amazon.com/autoscaling/application/APIReference/API_ScalableTarget.html
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from moto.applicationautoscaling.models import applicationautoscaling_backends

from whippet.local.records import shelf
from whippet.local.scaling.tracking import Bounds, Cooldown, Seconds
from whippet.local.settings import ACCOUNT

#: Activities that are kept of one target; AWS keeps them for six weeks.
ACTIVITIES = 500
#: The state of a target of which nothing is suspended.
NOTHING_SUSPENDED = {
    "DynamicScalingInSuspended": False,
    "DynamicScalingOutSuspended": False,
    "ScheduledScalingSuspended": False,
}


class Scalable(Protocol):
    """One scalable dimension of one service, such as `sagemaker:variant:DesiredInstanceCount`."""

    def capacity(self, region: str, resource_id: str) -> int | None:
        """The desired capacity of a resource, such as `endpoint/NAME/variant/NAME`; None where there is none."""
        ...

    def set_capacity(self, region: str, resource_id: str, capacity: int) -> None:
        """Changes the desired capacity; returns before it is reached.

        Raises:
            AwsError: it cannot be changed now. The text says why.
        """
        ...

    def is_changing(self, region: str, resource_id: str) -> bool:
        """Whether the resource is being updated, as while the desired capacity is not reached."""
        ...


class TargetKey(NamedTuple):
    """What a scalable target is known by within a region."""

    namespace: str
    resource_id: str
    dimension: str


@dataclass
class Policy:
    """A scaling policy.

    Attributes:
        name: unique within its target.
        arn: its ARN.
        kind: TargetTrackingScaling or StepScaling.
        configuration: as PutScalingPolicy had it.
        created_at: seconds since 1970.
        alarms: the names of the alarms that it has made: the high one, and the low one unless it never scales in.
    """

    name: str
    arn: str
    kind: str
    configuration: dict[str, Any]
    created_at: float
    alarms: list[str] = field(default_factory=list)

    @property
    def is_tracking(self) -> bool:
        """Whether it is a target tracking policy, not one of steps."""
        return self.kind == "TargetTrackingScaling"

    @property
    def high_alarm(self) -> str | None:
        """The name of the alarm that scales out, where the policy has made one."""
        return self.alarms[0] if self.alarms else None

    @property
    def low_alarm(self) -> str | None:
        """The name of the alarm that scales in, where the policy has made one."""
        return self.alarms[1] if len(self.alarms) > 1 else None

    @property
    def target_value(self) -> float:
        """What a target tracking policy keeps its metric at."""
        return float(self.configuration["TargetValue"])


@dataclass
class ScheduledAction:
    """A scheduled action.

    Attributes:
        name: unique within its target.
        arn: its ARN.
        parameters: as PutScheduledAction had them.
        created_at: seconds since 1970.
        ran_at: when it was due last, else when it was put.
    """

    name: str
    arn: str
    parameters: dict[str, Any]
    created_at: float
    ran_at: float


@dataclass
class Activity:
    """A scaling activity.

    Attributes:
        description: what is done.
        cause: why.
        started_at: seconds since 1970.
        after: the capacity that it asks for.
        status: InProgress, Successful or Failed.
        message: what has become of it.
        ended_at: seconds since 1970.
        base: the capacity that it was counted from.
        cooldowns: those of the policy that asked for it; nothing else begins one.
        not_scaled: why nothing was done, where nothing was.
    """

    description: str
    cause: str
    started_at: float
    after: int = 0
    status: str = "InProgress"
    message: str | None = None
    ended_at: float | None = None
    base: int = 0
    cooldowns: Seconds | None = None
    not_scaled: dict[str, Any] | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass
class Target:
    """A scalable target: one resource that policies and schedules may scale.

    Attributes:
        key: which resource.
        arn: its ARN.
        bounds: what the capacity must lie in.
        suspended: what is suspended: DynamicScalingInSuspended, DynamicScalingOutSuspended, ScheduledScalingSuspended.
        created_at: seconds since 1970.
        tags: its tags.
        policies: by their names.
        actions: scheduled ones, by their names.
        cooldown: those that last.
    """

    key: TargetKey
    arn: str
    bounds: Bounds
    suspended: dict[str, bool]
    created_at: float
    tags: dict[str, str] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    actions: dict[str, ScheduledAction] = field(default_factory=dict)
    cooldown: Cooldown = field(default_factory=Cooldown)


class Dimension(NamedTuple):
    """How AWS speaks of a scalable dimension.

    Attributes:
        noun: what is scaled, as the descriptions of activities say it.
        role: the last part of the service-linked role's name.
        host: the service in that role's path.
    """

    noun: str
    role: str
    host: str

    @property
    def role_arn(self) -> str:
        """https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-service-linked-roles.html."""
        path = f"aws-service-role/{self.host}.application-autoscaling.amazonaws.com"
        return f"arn:aws:iam::{ACCOUNT}:role/{path}/AWSServiceRoleForApplicationAutoScaling_{self.role}"


DIMENSIONS: Mapping[tuple[str, str], Dimension] = {
    ("sagemaker", "sagemaker:variant:DesiredInstanceCount"): Dimension(
        "desired instance count", "SageMakerEndpoint", "sagemaker"
    ),
    ("lambda", "lambda:function:ProvisionedConcurrency"): Dimension(
        "desired concurrency", "LambdaConcurrency", "lambda"
    ),
}


def targets_of(region: str) -> dict[TargetKey, Target]:
    """The scalable targets of a region."""
    return shelf(applicationautoscaling_backends[ACCOUNT][region], "targets")


def activities_of(region: str, key: TargetKey) -> deque[Activity]:
    """The activities of a target, oldest first, also when it is registered no more."""
    activities: dict[TargetKey, deque[Activity]] = shelf(applicationautoscaling_backends[ACCOUNT][region], "activities")
    return activities.setdefault(key, deque(maxlen=ACTIVITIES))


def keys_of_activities(region: str) -> list[TargetKey]:
    """The targets that have activities."""
    return list(shelf(applicationautoscaling_backends[ACCOUNT][region], "activities"))


def regions() -> list[str]:
    """Where there may be targets."""
    return list(applicationautoscaling_backends[ACCOUNT])
