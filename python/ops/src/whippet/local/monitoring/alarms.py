"""The alarms of CloudWatch: what they watch, the state they are in, and what follows from a change of it.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Alarms.html
"""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.sns.models import sns_backends

from whippet.local.clock import Clock
from whippet.local.monitoring import evaluation
from whippet.local.monitoring.evaluation import ALARM, INSUFFICIENT_DATA, OK, Rule, Verdict
from whippet.local.monitoring.expressions import ExpressionError, Points, evaluate, holds
from whippet.local.monitoring.metrics import Metrics
from whippet.local.records import shelf
from whippet.local.settings import ACCOUNT
from whippet.local.state import State

log = logging.getLogger(__name__)

#: What alarms do when they enter a state, by the parameter that lists it.
ACTIONS = {ALARM: "AlarmActions", OK: "OKActions", INSUFFICIENT_DATA: "InsufficientDataActions"}
#: Items that DescribeAlarmHistory has of one alarm; CloudWatch keeps them for 30 days.
HISTORY = 500
#: Seconds between two evaluations of an alarm, for periods of a minute and more, and for shorter ones.
INTERVAL, FAST_INTERVAL = 60, 10
#: Part of the interval that is waited for datapoints of the period that has just ended.
GRACE = 0.1
#: Seconds of the wall between two looks at whether an alarm is due, at most.
TICK = 0.25


@dataclass
class Alarm:
    """An alarm on record.

    Attributes:
        region: where it is.
        name: its name.
        is_composite: whether a rule over other alarms decides, not a metric.
        parameters: those of PutMetricAlarm or PutCompositeAlarm, without the tags.
        tags: its tags.
        updated: when its configuration was, as are the other two: seconds since 1970.
        state: OK, ALARM or INSUFFICIENT_DATA.
        state_updated: when the state or its reason last changed.
        state_changed: when the state last changed.
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

    @property
    def arn(self) -> str:
        """Its ARN."""
        return f"arn:aws:cloudwatch:{self.region}:{ACCOUNT}:alarm:{self.name}"

    @property
    def period(self) -> int:
        """Seconds of one datapoint."""
        queries = self.parameters.get("Metrics", [])
        periods = [query["MetricStat"]["Period"] for query in queries if "MetricStat" in query]
        return int(self.parameters.get("Period") or max(periods, default=INTERVAL))

    @property
    def interval(self) -> int:
        """Seconds between two evaluations."""
        return FAST_INTERVAL if not self.is_composite and self.period < INTERVAL else INTERVAL

    def rule(self) -> Rule:
        """What decides about it."""
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


@dataclass(frozen=True)
class Raised:
    """An alarm that is in ALARM and names an action.

    Attributes:
        region: of the alarm.
        name: of the alarm.
        action: the ARN of the action.
        points: the values that it has looked at, by the start of their period.
    """

    region: str
    name: str
    action: str
    points: Points


def alarms_of(region: str) -> dict[str, Alarm]:
    """The alarms of a region by their names."""
    return shelf(cloudwatch_backends[ACCOUNT][region], "alarms")


def alarm_state(region: str, name: str) -> str | None:
    """OK, ALARM or INSUFFICIENT_DATA; None where there is no such alarm."""
    alarm = alarms_of(region).get(name)
    return None if alarm is None else alarm.state


class Alarms:
    """Evaluates alarms as the clock goes on, and does what they say.

    Args:
        clock: what their periods follow.
        metrics: what they watch.
        state: told of what has changed.

    Attributes:
        on_scaling_alarm: called at each evaluation of an alarm in ALARM that names a scaling policy, not only when it
            enters that state: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-actions.html
    """

    def __init__(self, clock: Clock, metrics: Metrics, state: State) -> None:
        self._clock = clock
        self._metrics = metrics
        self._state = state
        self.on_scaling_alarm: Callable[[Raised], None] = lambda raised: None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._due: dict[tuple[str, str], float] = {}
        self._lock = threading.RLock()

    def start(self) -> None:
        """Evaluates from now on."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._stopped,), name="alarms", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Evaluates no more."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        self._thread = None
        self._due.clear()

    def set_state(self, alarm: Alarm, verdict: Verdict) -> None:
        """Brings an alarm into a state, writes that into its history and does what the alarm says of the state."""
        now = self._clock.time()
        with self._lock:
            old = (alarm.state, alarm.reason, alarm.reason_data)
            alarm.reason, alarm.reason_data = verdict.reason, verdict.reason_data
            has_changed = alarm.state != verdict.state
            if not has_changed:
                return
            alarm.state, alarm.state_updated, alarm.state_changed = verdict.state, now, now
            note_history(
                alarm,
                now,
                "StateUpdate",
                f"Alarm updated from {old[0]} to {verdict.state}",
                {
                    "version": "1.0",
                    "oldState": _state_data(*old),
                    "newState": _state_data(alarm.state, alarm.reason, alarm.reason_data),
                },
            )
        log.info("alarm %s: %s -> %s: %s", alarm.name, old[0], verdict.state, verdict.reason)
        self._act(alarm, old[0], now)
        self._state.changed("cloudwatch", alarm.region)
        self._evaluate_composites(alarm.region)

    def points_of(self, alarm: Alarm, now: float) -> Points:
        """The values that an alarm looks at.

        Raises:
            ExpressionError: its expression has no value.
        """
        rule = alarm.rule()
        end = now // rule.period * rule.period
        start = end - (rule.evaluation_periods + evaluation.LOOK_BACK) * rule.period
        if queries := alarm.parameters.get("Metrics"):
            return computed(self._metrics, alarm.region, queries, start, end)
        dimensions = {one["Name"]: one["Value"] for one in alarm.parameters.get("Dimensions", [])}
        found = self._metrics.query(
            alarm.region,
            alarm.parameters["Namespace"],
            alarm.parameters["MetricName"],
            dimensions,
            start,
            end,
            rule.period,
            rule.unit or None,
        )
        return {at: statistics.get(rule.statistic) for at, statistics in found.items()}

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.wait(max(0.02, min(TICK, FAST_INTERVAL * GRACE / self._clock.speed))):
            try:
                self._evaluate_due()
            except Exception:
                log.exception("alarms could not be evaluated")

    def _evaluate_due(self) -> None:
        now = self._clock.time()
        for alarm in _all_alarms():
            if alarm.is_composite:
                continue
            key = (alarm.region, alarm.name)
            due = self._due.setdefault(key, _next_due(max(alarm.updated, now - alarm.interval), alarm.interval))
            if now >= due:
                self._due[key] = _next_due(now, alarm.interval)
                self._evaluate(alarm, now)

    def _evaluate(self, alarm: Alarm, now: float) -> None:
        try:
            points = self.points_of(alarm, now)
        except ExpressionError as error:
            log.warning("alarm %s: %s", alarm.name, error)
            return
        verdict = evaluation.evaluate(alarm.rule(), points, now, alarm.state)
        self.set_state(alarm, verdict)
        if alarm.state == ALARM and alarm.parameters.get("ActionsEnabled", True):
            for action in alarm.parameters.get("AlarmActions", []):
                if ":scalingPolicy:" in action:
                    self.on_scaling_alarm(Raised(alarm.region, alarm.name, action, points))

    def _evaluate_composites(self, region: str) -> None:
        def state_of(named: str) -> str | None:
            return alarm_state(region, named.rsplit(":alarm:", 1)[-1])

        for alarm in list(alarms_of(region).values()):
            if alarm.is_composite:
                rule = alarm.parameters["AlarmRule"]
                state = ALARM if holds(rule, state_of) else OK
                self.set_state(alarm, Verdict(state, f"{alarm.arn} is {state}: {rule}", "{}"))

    def check_composite(self, region: str) -> None:
        """Evaluates the composite alarms of a region, as after one was made."""
        self._evaluate_composites(region)

    def _act(self, alarm: Alarm, old: str, now: float) -> None:
        if not alarm.parameters.get("ActionsEnabled", True):
            return
        for action in alarm.parameters.get(ACTIONS[alarm.state], []):
            if not action.startswith("arn:aws:sns:"):
                continue
            outcome = "Successfully executed action"
            try:
                message = json.dumps(_notification(alarm, old, now))
                subject = f'{alarm.state}: "{alarm.name}" in {alarm.region}'[:100]
                sns_backends[ACCOUNT][alarm.region].publish(message, arn=action, subject=subject)
                self._state.changed("sqs", alarm.region)
            except Exception as error:
                outcome = "Failed to execute action"
                log.warning("alarm %s: action %s: %s", alarm.name, action, error)
            note_history(
                alarm, now, "Action", f"{outcome} {action}", {"actionState": "", "notificationResource": action}
            )


def computed(
    metrics: Metrics, region: str, queries: list[dict[str, Any]], start: float, end: float, wanted: str | None = None
) -> Points:
    """The result of metric queries: of `wanted`, or of the one that returns data.

    Raises:
        ExpressionError: an expression cannot be evaluated.
    """
    series: dict[str, Points] = {}
    for query in queries:
        if "MetricStat" in query:
            series[query["Id"]] = _statistic(metrics, region, query["MetricStat"], start, end)
    pending = [query for query in queries if "Expression" in query]
    while pending:
        left = []
        for query in pending:
            try:
                series[query["Id"]] = evaluate(query["Expression"], series)
            except ExpressionError:
                left.append(query)
        if len(left) == len(pending):
            evaluate(left[0]["Expression"], series)  # says what is wrong
        pending = left
    chosen = wanted or next(query["Id"] for query in queries if query.get("ReturnData", True))
    return series[chosen]


def _statistic(metrics: Metrics, region: str, stat: Mapping[str, Any], start: float, end: float) -> Points:
    metric = stat["Metric"]
    dimensions = {one["Name"]: one["Value"] for one in metric.get("Dimensions", [])}
    period = int(stat["Period"])
    start = start // period * period
    found = metrics.query(
        region, metric["Namespace"], metric["MetricName"], dimensions, start, end, period, stat.get("Unit")
    )
    return {at: statistics.get(stat["Stat"]) for at, statistics in found.items()}


def note_history(alarm: Alarm, now: float, kind: str, summary: str, data: Mapping[str, Any]) -> None:
    """Adds an item to an alarm's history."""
    item = {
        "AlarmName": alarm.name,
        "AlarmType": "CompositeAlarm" if alarm.is_composite else "MetricAlarm",
        "Timestamp": datetime.fromtimestamp(now, UTC),
        "HistoryItemType": kind,
        "HistorySummary": summary,
        "HistoryData": json.dumps(data),
    }
    alarm.history.append(item)


def _all_alarms() -> Iterator[Alarm]:
    for region in list(cloudwatch_backends[ACCOUNT]):
        yield from list(alarms_of(region).values())


def _next_due(now: float, interval: int) -> float:
    """When an alarm is evaluated next: shortly after the periods end, so that their datapoints are there."""
    grace = GRACE * interval
    return ((now - grace) // interval + 1) * interval + grace


def _state_data(state: str, reason: str, reason_data: str | None) -> dict[str, Any]:
    data = {"stateValue": state, "stateReason": reason}
    return data | ({"stateReasonData": json.loads(reason_data)} if reason_data else {})


def _notification(alarm: Alarm, old: str, now: float) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html."""
    parameters = alarm.parameters
    told = {
        "AlarmName": alarm.name,
        "AlarmDescription": parameters.get("AlarmDescription"),
        "AWSAccountId": ACCOUNT,
        "AlarmConfigurationUpdatedTimestamp": _sns_timestamp(alarm.updated),
        "NewStateValue": alarm.state,
        "NewStateReason": alarm.reason,
        "StateChangeTime": _sns_timestamp(now),
        "Region": alarm.region,
        "AlarmArn": alarm.arn,
        "OldStateValue": old,
        "OKActions": parameters.get("OKActions", []),
        "AlarmActions": parameters.get("AlarmActions", []),
        "InsufficientDataActions": parameters.get("InsufficientDataActions", []),
    }
    if alarm.is_composite:
        return told | {"AlarmRule": parameters["AlarmRule"]}
    trigger = {
        name: parameters[name]
        for name in (
            *("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Unit", "Period", "EvaluationPeriods"),
            *("DatapointsToAlarm", "ComparisonOperator", "Threshold", "TreatMissingData", "Metrics"),
        )
        if name in parameters
    }
    dimensions = [{"name": one["Name"], "value": one["Value"]} for one in parameters.get("Dimensions", [])]
    return told | {"Trigger": trigger | {"Dimensions": dimensions}}


def _sns_timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "+0000")
