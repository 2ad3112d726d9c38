"""What an alarm tells those whom it names as its actions.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

from botocore.session import get_session
from moto.sns.models import sns_backends

from whippet.local.monitoring.alarms import Alarm
from whippet.local.settings import ACCOUNT


def publish(region: str, topic: str, subject: str, message: str) -> None:
    """Publishes to an SNS topic, and waits for its subscribers."""
    sns_backends[ACCOUNT][region].publish(message, arn=topic, subject=subject)


def subject(alarm: Alarm) -> str:
    """The subject under which a topic is told of an alarm's state."""
    return f'{alarm.state}: "{alarm.name}" in {_region_name(alarm.region)}'[:100]


def message(alarm: Alarm, old_state: str) -> str:
    """What a topic is told of an alarm's state, as JSON."""
    return json.dumps(_message(alarm, old_state))


def timestamp(seconds: float) -> str:
    """A time as CloudWatch writes it into JSON."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "+0000")


def _message(alarm: Alarm, old_state: str) -> dict[str, Any]:
    parameters = alarm.parameters
    told = {
        "AlarmName": alarm.name,
        "AlarmDescription": parameters.get("AlarmDescription"),
        "AWSAccountId": ACCOUNT,
        "AlarmConfigurationUpdatedTimestamp": timestamp(alarm.updated),
        "NewStateValue": alarm.state,
        "NewStateReason": alarm.reason,
        "StateChangeTime": timestamp(alarm.state_changed),
        "Region": _region_name(alarm.region),
        "AlarmArn": alarm.arn,
        "OldStateValue": old_state,
        "OKActions": parameters.get("OKActions", []),
        "AlarmActions": parameters.get("AlarmActions", []),
        "InsufficientDataActions": parameters.get("InsufficientDataActions", []),
    }
    if not alarm.is_composite:
        return told | {"Trigger": _trigger(parameters)}
    children = json.loads(alarm.reason_data or "{}").get("triggeringAlarms", [])
    return told | {
        "AlarmRule": parameters["AlarmRule"],
        "TriggeringChildren": [
            {"Arn": child["arn"], "State": {"Value": child["state"]["value"], "Timestamp": child["state"]["timestamp"]}}
            for child in children
        ],
    }


def _trigger(parameters: dict[str, Any]) -> dict[str, Any]:
    optional = ("DatapointsToAlarm",)
    trigger = {
        "Period": parameters.get("Period"),
        "EvaluationPeriods": parameters["EvaluationPeriods"],
        **{name: parameters[name] for name in optional if name in parameters},
        "ComparisonOperator": parameters["ComparisonOperator"],
        "Threshold": parameters.get("Threshold"),
        "TreatMissingData": parameters.get("TreatMissingData", "missing"),
        "EvaluateLowSampleCountPercentile": parameters.get("EvaluateLowSampleCountPercentile", ""),
    }
    if "Metrics" in parameters:
        return trigger | {"Metrics": [_query(one) for one in parameters["Metrics"]]}
    kind = "Statistic" if "Statistic" in parameters else "ExtendedStatistic"
    statistic = parameters[kind]
    return trigger | {
        "MetricName": parameters["MetricName"],
        "Namespace": parameters["Namespace"],
        "StatisticType": kind,
        kind: "SAMPLE_COUNT" if statistic == "SampleCount" else statistic.upper() if kind == "Statistic" else statistic,
        "Unit": parameters.get("Unit"),
        "Dimensions": _dimensions(parameters.get("Dimensions", [])),
    }


def _query(query: dict[str, Any]) -> dict[str, Any]:
    if "MetricStat" not in query:
        return query
    metric = query["MetricStat"]["Metric"]
    told = metric | {"Dimensions": _dimensions(metric.get("Dimensions", []))}
    return query | {"MetricStat": query["MetricStat"] | {"Metric": told}}


def _dimensions(members: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"value": one["Value"], "name": one["Name"]} for one in members]


@cache
def _region_name(region: str) -> str:
    """As in US East (N. Virginia)."""
    partitions = get_session().get_data("endpoints")["partitions"]
    names = {name: one["description"] for partition in partitions for name, one in partition["regions"].items()}
    return str(names.get(region, region))
