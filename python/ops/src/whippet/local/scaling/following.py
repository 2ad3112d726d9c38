"""The metrics that target tracking policies follow, and the alarms that watch them.

https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from whippet.local.calls import AwsError
from whippet.local.monitoring.alarms import alarms_of, put_alarm
from whippet.local.monitoring.metric_calls import check_queries
from whippet.local.scaling.targets import Policy, Target, TargetKey

#: The alarm that scales in is raised below this part of the target.
SCALE_IN_PART = 0.9
#: Datapoints above the target that scale out; seconds of datapoints below 90 % of it that scale in. Both are what
#: policies for one-minute metrics have made on AWS. It does not say which alarms the high-resolution metric gets: that
#: they have as many datapoints of ten seconds, and the same quarter of an hour, is an assumption.
OUT_DATAPOINTS, IN_SECONDS = 3, 15 * 60
#: The kinds of the two alarms, as their names have them.
HIGH, LOW = "AlarmHigh", "AlarmLow"


class Predefined(NamedTuple):
    """A predefined metric: what the alarms watch, with its period in seconds."""

    namespace: str
    name: str
    statistic: str
    period: int


#: By scalable dimension and type, as
#: https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PredefinedMetricSpecification.html has them.
PREDEFINED: Mapping[str, Mapping[str, Predefined]] = {
    "sagemaker:variant:DesiredInstanceCount": {
        # https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html: Sum is its valid statistic.
        "SageMakerVariantInvocationsPerInstance": Predefined("AWS/SageMaker", "InvocationsPerInstance", "Sum", 60),
        "SageMakerVariantConcurrentRequestsPerModelHighResolution": Predefined(
            "AWS/SageMaker", "ConcurrentRequestsPerModel", "Average", 10
        ),
    },
    "lambda:function:ProvisionedConcurrency": {
        "LambdaProvisionedConcurrencyUtilization": Predefined(
            "AWS/Lambda", "ProvisionedConcurrencyUtilization", "Average", 60
        )
    },
}


def put_alarms(region: str, target: Target, policy: Policy, configuration: Mapping[str, Any], now: float) -> None:
    """Makes or changes the alarms of a target tracking policy; those that stay keep their names.

    Raises:
        AwsError: the policy's metric makes no sense, or another policy of the target follows it already.
    """
    watched = _watched(configuration, target.key)
    _check_unique(target, policy, configuration)
    value, period = float(configuration["TargetValue"]), watched.get("Period", 60)
    wanted = [(HIGH, policy.high_alarm, "GreaterThanThreshold", value, OUT_DATAPOINTS)]
    if configuration.get("DisableScaleIn"):
        alarms_of(region).pop(policy.low_alarm or "", None)
    else:
        wanted.append((LOW, policy.low_alarm, "LessThanThreshold", value * SCALE_IN_PART, IN_SECONDS // period))
    policy.alarms = []
    for kind, kept, comparison, threshold, periods in wanted:
        name = kept or f"TargetTracking-{target.key.resource_id}-{kind}-{uuid.uuid4()}"
        parameters = {
            **watched,
            "AlarmDescription": f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy.arn}.",
            "ActionsEnabled": True,
            "AlarmActions": [policy.arn],
            "ComparisonOperator": comparison,
            "Threshold": threshold,
            "EvaluationPeriods": periods,
        }
        put_alarm(region, name, parameters, now)
        policy.alarms.append(name)


def delete_alarms(region: str, policy: Policy) -> None:
    """Deletes the alarms that a policy has made."""
    for name in policy.alarms:
        alarms_of(region).pop(name, None)


def _watched(configuration: Mapping[str, Any], key: TargetKey) -> dict[str, Any]:
    """The parameters of PutMetricAlarm that say which metric a policy follows."""
    if ("PredefinedMetricSpecification" in configuration) == ("CustomizedMetricSpecification" in configuration):
        message = "Exactly one of PredefinedMetricSpecification and CustomizedMetricSpecification must be specified."
        raise AwsError("ValidationException", message)
    if predefined := configuration.get("PredefinedMetricSpecification"):
        return _predefined(predefined["PredefinedMetricType"], key)
    return _customized(configuration["CustomizedMetricSpecification"])


def _customized(custom: Mapping[str, Any]) -> dict[str, Any]:
    names = ("MetricName", "Namespace", "Dimensions", "Statistic", "Unit")
    given = {name: custom[name] for name in names if name in custom}
    if "Metrics" not in custom:
        if missing := [name for name in ("MetricName", "Namespace", "Statistic") if name not in given]:
            raise AwsError("ValidationException", f"A customized metric needs {missing[0]}, or Metrics.")
        return given | {"Period": 60}
    if given:
        raise AwsError("ValidationException", f"{next(iter(given))} must not be specified together with Metrics.")
    queries = [_as_query(one) for one in custom["Metrics"]]
    check_queries(queries, "ValidationException")
    if sum(query.get("ReturnData", True) for query in queries) != 1:
        raise AwsError("ValidationException", "Exactly one element of Metrics should return data.")
    return {"Metrics": queries}


def _predefined(kind: str, key: TargetKey) -> dict[str, Any]:
    known = PREDEFINED.get(key.dimension, {})
    if kind not in known:
        message = f"Scalable dimension {key.dimension} only supports the following predefined metric types: "
        raise AwsError("ValidationException", message + ", ".join(known))
    metric = known[kind]
    return {
        "Namespace": metric.namespace,
        "MetricName": metric.name,
        "Statistic": metric.statistic,
        "Period": metric.period,
        "Dimensions": [{"Name": name, "Value": value} for name, value in _dimensions(key).items()],
    }


def _check_unique(target: Target, policy: Policy, configuration: Mapping[str, Any]) -> None:
    def metric(one: Mapping[str, Any]) -> tuple[Any, Any]:
        return one.get("PredefinedMetricSpecification"), one.get("CustomizedMetricSpecification")

    for other in target.policies.values():
        if other.name != policy.name and other.is_tracking and metric(other.configuration) == metric(configuration):
            message = "Only one TargetTrackingScaling policy for a given metric specification is allowed."
            raise AwsError("ValidationException", message)


def _as_query(metric: dict[str, Any]) -> dict[str, Any]:
    """A metric of a policy, whose statistic has no period, as one of an alarm."""
    return metric | {"MetricStat": {"Period": 60, **metric["MetricStat"]}} if "MetricStat" in metric else metric


def _dimensions(key: TargetKey) -> dict[str, str]:
    parts = key.resource_id.replace(":", "/").split("/")
    if key.namespace == "sagemaker":  # endpoint/NAME/variant/NAME
        return {"EndpointName": parts[1], "VariantName": parts[3]}
    return {"FunctionName": parts[1], "Resource": f"{parts[1]}:{parts[2]}"}  # function:NAME:QUALIFIER
