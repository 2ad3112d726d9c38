"""Alarms as they are on record.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricAlarm.html
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends

from whippet.local.monitoring.evaluation import INSUFFICIENT_DATA, Rule
from whippet.local.monitoring.queries import period_of
from whippet.local.records import shelf
from whippet.local.settings import ACCOUNT

#: Items that DescribeAlarmHistory has of one alarm; CloudWatch keeps them for 30 days.
HISTORY = 500


@dataclass
class Alarm:
    """An alarm.

    Attributes:
        region: where it is.
        name: its name.
        is_composite: whether a rule over other alarms decides, not a metric.
        parameters: those of PutMetricAlarm or PutCompositeAlarm, without the name and the tags.
        tags: its tags.
        updated: when its configuration was, as are the other two: seconds since 1970.
        state: OK, ALARM or INSUFFICIENT_DATA.
        reason: why it came into that state.
        reason_data: the same as JSON.
        state_updated: when the state was last set.
        state_changed: when it last became another one.
        history: items of DescribeAlarmHistory, oldest first.
    """

    region: str
    name: str
    is_composite: bool
    parameters: dict[str, Any]
    tags: dict[str, str]
    updated: float
    state: str = INSUFFICIENT_DATA
    reason: str = "Unchecked: Initial alarm creation"
    reason_data: str | None = None
    state_updated: float = 0.0
    state_changed: float = 0.0
    history: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=HISTORY))

    def __post_init__(self) -> None:
        self.state_updated = self.state_changed = self.updated

    @property
    def arn(self) -> str:
        """Its ARN."""
        return f"arn:aws:cloudwatch:{self.region}:{ACCOUNT}:alarm:{self.name}"

    @property
    def kind(self) -> str:
        """MetricAlarm or CompositeAlarm."""
        return "CompositeAlarm" if self.is_composite else "MetricAlarm"

    @property
    def period(self) -> int:
        """Seconds of one datapoint."""
        return int(self.parameters.get("Period") or period_of(self.parameters.get("Metrics", [])))

    @property
    def does_act(self) -> bool:
        """Whether its actions are enabled."""
        return bool(self.parameters.get("ActionsEnabled", True))

    def rule(self) -> Rule:
        """What decides about a metric alarm."""
        parameters = self.parameters
        periods = parameters["EvaluationPeriods"]
        return Rule(
            comparison=parameters["ComparisonOperator"],
            threshold=float(parameters.get("Threshold", 0.0)),
            period=self.period,
            evaluation_periods=periods,
            datapoints_to_alarm=parameters.get("DatapointsToAlarm") or periods,
            missing=parameters.get("TreatMissingData", "missing"),
            statistic=parameters.get("Statistic") or parameters.get("ExtendedStatistic") or "",
            unit=parameters.get("Unit", ""),
        )

    def note(self, now: float, kind: str, summary: str, data: Mapping[str, Any]) -> None:
        """Adds an item to the history: a ConfigurationUpdate, a StateUpdate or an Action."""
        item = {
            "AlarmName": self.name,
            "AlarmType": self.kind,
            "Timestamp": datetime.fromtimestamp(now, UTC),
            "HistoryItemType": kind,
            "HistorySummary": summary,
            "HistoryData": json.dumps(data),
        }
        self.history.append(item)


def put_alarm(
    region: str, name: str, parameters: dict[str, Any], now: float, *, is_composite: bool = False
) -> tuple[Alarm, bool]:
    """Records an alarm; one of the same kind that is there already keeps its state, its history and its tags.

    Args:
        region: where it is.
        name: its name.
        parameters: as `Alarm.parameters`.
        now: seconds since 1970.
        is_composite: as `Alarm.is_composite`.

    Returns:
        It, and whether it is new.
    """
    alarms = alarms_of(region)
    alarm = alarms.get(name)
    is_new = alarm is None or alarm.is_composite != is_composite
    if alarm is None or is_new:
        alarm = alarms[name] = Alarm(region, name, is_composite, parameters, {}, now)
    alarm.parameters, alarm.updated = parameters, now
    summary, kind = f'Alarm "{name}" {"created" if is_new else "updated"}', "Create" if is_new else "Update"
    alarm.note(now, "ConfigurationUpdate", summary, {"version": "1.0", "type": kind})
    return alarm, is_new


def alarms_of(region: str) -> dict[str, Alarm]:
    """The alarms of a region by their names."""
    return shelf(cloudwatch_backends[ACCOUNT][region], "alarms")


def all_alarms() -> Iterator[Alarm]:
    """The alarms of all regions."""
    for region in list(cloudwatch_backends[ACCOUNT]):
        yield from list(alarms_of(region).values())


def alarm_state(region: str, name: str) -> str | None:
    """OK, ALARM or INSUFFICIENT_DATA; None where there is no such alarm."""
    alarm = alarms_of(region).get(name)
    return None if alarm is None else alarm.state
