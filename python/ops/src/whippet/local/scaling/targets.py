"""What Application Auto Scaling scales, and what it keeps on record.

https://docs.aws.amazon.com/autoscaling/application/APIReference/API_ScalableTarget.html
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from whippet.local.scaling.tracking import Bounds, Cooldown
from whippet.local.settings import ACCOUNT

#: Activities that are kept of one target; AWS keeps them for six weeks.
ACTIVITIES = 500


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
        number: its id's source.
        before: the capacity before it.
        after: the capacity that it asks for.
        status: InProgress, Successful or Failed.
        not_scaled: why nothing was done, where nothing was.
    """

    id: str
    description: str
    cause: str
    started_at: float
    before: int
    after: int
    status: str = "InProgress"
    message: str = ""
    ended_at: float | None = None
    not_scaled: dict[str, Any] | None = None


@dataclass
class Target:
    """A scalable target: one resource that policies and schedules may scale.

    Attributes:
        arn: its ARN.
        bounds: what the capacity must lie in.
        suspended: what is suspended: DynamicScalingInSuspended, DynamicScalingOutSuspended, ScheduledScalingSuspended.
        created_at: seconds since 1970.
    """

    key: TargetKey
    arn: str
    bounds: Bounds
    suspended: dict[str, bool]
    created_at: float
    tags: dict[str, str] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    actions: dict[str, ScheduledAction] = field(default_factory=dict)
    activities: deque[Activity] = field(default_factory=lambda: deque(maxlen=ACTIVITIES))
    cooldown: Cooldown = field(default_factory=Cooldown)


class Dimension(NamedTuple):
    """How AWS speaks of a scalable dimension.

    Attributes:
        noun: what is scaled.
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
        "provisioned concurrency", "LambdaConcurrency", "lambda"
    ),
}


@dataclass(frozen=True)
class Followed:
    """The metric that a target tracking policy follows, as its alarms watch it.

    Attributes:
        parameters: of PutMetricAlarm: the metric with its statistic and period, or `Metrics`.
        high: datapoints above the target that scale out.
        low: datapoints below 90 % of it that scale in.
    """

    parameters: dict[str, Any]
    high: int
    low: int


#: AWS does not document the alarms of the high-resolution metric. Three datapoints of ten seconds out, and a quarter of
#: an hour in, as with the one-minute metric, are an assumption.
_PREDEFINED = {
    "SageMakerVariantInvocationsPerInstance": ("AWS/SageMaker", "InvocationsPerInstance", "Sum", 60),
    "SageMakerVariantConcurrentRequestsPerModelHighResolution": (
        *("AWS/SageMaker", "ConcurrentRequestsPerModel", "Average"),
        10,
    ),
    "LambdaProvisionedConcurrencyUtilization": ("AWS/Lambda", "ProvisionedConcurrencyUtilization", "Average", 60),
}
OUT_DATAPOINTS, IN_SECONDS = 3, 15 * 60


def followed(configuration: Mapping[str, Any], key: TargetKey) -> Followed | None:
    """The metric of a target tracking policy; None where local AWS does not have it."""
    if custom := configuration.get("CustomizedMetricSpecification"):
        if "Metrics" in custom:
            parameters: dict[str, Any] = {"Metrics": _as_queries(custom["Metrics"])}
        else:
            names = ("MetricName", "Namespace", "Dimensions", "Statistic", "Unit")
            parameters = {name: custom[name] for name in names if name in custom} | {"Period": 60}
        return Followed(parameters, OUT_DATAPOINTS, IN_SECONDS // 60)
    predefined = _PREDEFINED.get(configuration["PredefinedMetricSpecification"]["PredefinedMetricType"])
    if predefined is None:
        return None
    namespace, name, statistic, period = predefined
    parameters = {
        "Namespace": namespace,
        "MetricName": name,
        "Statistic": statistic,
        "Period": period,
        "Dimensions": [{"Name": one, "Value": value} for one, value in _dimensions(key).items()],
    }
    return Followed(parameters, OUT_DATAPOINTS, IN_SECONDS // period)


def _as_queries(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The metrics of a policy, whose statistics have no period, as those of an alarm."""
    return [
        one | {"MetricStat": {"Period": 60, **one["MetricStat"]}} if "MetricStat" in one else one for one in metrics
    ]


def _dimensions(key: TargetKey) -> dict[str, str]:
    parts = key.resource_id.replace(":", "/").split("/")
    if key.namespace == "sagemaker":  # endpoint/NAME/variant/NAME
        return {"EndpointName": parts[1], "VariantName": parts[3]}
    return {"FunctionName": parts[1], "Resource": f"{parts[1]}:{parts[2]}"}  # function:NAME:QUALIFIER
