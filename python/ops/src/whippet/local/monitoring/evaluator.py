"""Evaluates alarms as the clock goes on, and does what they say.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Alarms.html
"""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from whippet.local.clock import Clock
from whippet.local.monitoring import evaluation, notifications
from whippet.local.monitoring.alarms import Alarm, alarm_state, alarms_of, all_alarms
from whippet.local.monitoring.evaluation import ALARM, INSUFFICIENT_DATA, OK, Verdict
from whippet.local.monitoring.expressions import ExpressionError, Points, alarms_in, holds, name_of
from whippet.local.monitoring.metrics import Metrics
from whippet.local.monitoring.queries import computed, dimensions_of, points_of
from whippet.local.state import State

log = logging.getLogger(__name__)

#: What alarms do when they enter a state, by the parameter that lists it.
ACTIONS = {ALARM: "AlarmActions", OK: "OKActions", INSUFFICIENT_DATA: "InsufficientDataActions"}
#: Seconds between two evaluations of an alarm, for periods of a minute and more, and for shorter ones.
INTERVAL, FAST_INTERVAL = 60, 10
#: Part of the interval that is waited for datapoints of the period that has just ended.
GRACE = 0.1
#: Seconds of the wall between two looks at whether an alarm is due: the most, and the least.
MAX_PAUSE, MIN_PAUSE = 0.25, 0.02
#: Seconds of the wall that the end of local AWS waits for subscribers of a topic that are being told.
TELLING = 1.0


@dataclass(frozen=True)
class Raised:
    """An alarm that is in a state for which it names a scaling policy.

    Attributes:
        alarm: the alarm.
        action: the ARN of the policy.
        points: the values that it has looked at, by the start of their period.
    """

    alarm: Alarm
    action: str
    points: Points


class Evaluator:
    """Keeps the states of alarms true.

    Args:
        clock: what their periods follow.
        metrics: what they watch.
        state: told of what has changed.

    Attributes:
        on_scaling: called at each evaluation of an alarm whose state names a scaling policy, not only when it enters
            that state: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-actions.html
    """

    def __init__(self, clock: Clock, metrics: Metrics, state: State) -> None:
        self._clock = clock
        self._metrics = metrics
        self._state = state
        self.on_scaling: Callable[[Raised], None] = lambda raised: None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._telling: set[threading.Thread] = set()
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
        for thread in list(self._telling):
            thread.join(TELLING)
        self._due.clear()

    def set_state(self, alarm: Alarm, verdict: Verdict) -> None:
        """Sets a state by hand, as SetAlarmState does."""
        with self._lock:
            has_changed = self._move(alarm, verdict)
            if not has_changed:
                alarm.reason, alarm.reason_data = verdict.reason, verdict.reason_data
                alarm.state_updated = self._clock.time()
        if has_changed:
            given = json.loads(verdict.reason_data or "{}")
            recent = given.get("recentDatapoints", []) if isinstance(given, dict) else []
            self._scale(alarm, dict(enumerate(recent)))

    def check_composite(self, alarm: Alarm, how: str) -> None:
        """Evaluates a composite alarm.

        Args:
            alarm: the composite one.
            how: why, as in `created and its alarm rule`.
        """
        alarms = alarms_of(alarm.region)
        children = [alarms[name] for name in sorted(alarms_in(alarm.parameters["AlarmRule"])) if name in alarms]
        state = _composite_state(alarm)
        with self._lock:
            self._move(alarm, Verdict(state, f"{alarm.arn} was {how} evaluates to {state}", _children_data(children)))

    def points(self, alarm: Alarm, now: float) -> Points | None:
        """The values that an alarm looks at; None where it waits for more of them.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/percentiles-with-low-samples.html

        Raises:
            ExpressionError: its expression has no value.
        """
        rule, parameters = alarm.rule(), alarm.parameters
        end = now // rule.period * rule.period
        start = end - (rule.evaluation_periods + evaluation.LOOK_BACK) * rule.period
        if queries := parameters.get("Metrics"):
            return computed(self._metrics, alarm.region, queries, start, end)
        dimensions = dimensions_of(parameters.get("Dimensions", []))
        where = (alarm.region, parameters["Namespace"], parameters["MetricName"], dimensions)
        found = self._metrics.query(*where, start, end, rule.period, rule.unit or None)
        if parameters.get("EvaluateLowSampleCountPercentile") == "ignore":
            since = end - rule.evaluation_periods * rule.period
            samples = sum(statistics.count for at, statistics in found.items() if at >= since)
            if samples < evaluation.samples_needed(rule.statistic):
                return None
        return points_of(found, rule.statistic)

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.wait(max(MIN_PAUSE, min(MAX_PAUSE, FAST_INTERVAL * GRACE / self._clock.speed))):
            try:
                self._evaluate_due()
            except Exception:
                log.exception("alarms could not be evaluated")

    def _evaluate_due(self) -> None:
        now, due = self._clock.time(), {}
        for alarm in all_alarms():
            if alarm.is_composite:
                continue
            key, interval = (alarm.region, alarm.name), INTERVAL if alarm.period >= INTERVAL else FAST_INTERVAL
            due[key] = self._due.get(key) or _next_due(max(alarm.updated, now - interval), interval)
            if now >= due[key]:
                due[key] = _next_due(now, interval)
                try:
                    self._evaluate(alarm, now)
                except Exception:  # which is no reason to leave out the others
                    log.exception("alarm %s cannot be evaluated", alarm.name)
        self._due = due  # without those of alarms that are gone

    def _evaluate(self, alarm: Alarm, now: float) -> None:
        try:
            points = self.points(alarm, now)
        except ExpressionError as error:
            log.warning("alarm %s: %s", alarm.name, error)
            return
        if points is not None:
            with self._lock:
                self._move(alarm, evaluation.evaluate(alarm.rule(), points, now, alarm.state))
            self._scale(alarm, points)

    def _move(self, alarm: Alarm, verdict: Verdict) -> bool:
        """Brings an alarm into a state, and the composite ones about it into theirs; whether it was in another one.

        Each changes once at most, so that a cycle of them ends.
        """
        if alarm.state == verdict.state:
            return False
        self._enter(alarm, verdict)
        pending, changed = deque([alarm]), {alarm.name}
        while pending:
            child = pending.popleft()
            for parent in _parents(child):
                state = _composite_state(parent)
                if parent.name not in changed and parent.state != state:
                    changed.add(parent.name)
                    at = datetime.fromtimestamp(child.state_changed, UTC)
                    reason = f"{child.arn} transitioned to {child.state} at {at:%A %d %B, %Y %H:%M:%S} UTC"
                    self._enter(parent, Verdict(state, reason, _children_data([child])))
                    pending.append(parent)
        return True

    def _enter(self, alarm: Alarm, verdict: Verdict) -> None:
        now, old, before = self._clock.time(), alarm.state, _told_state(alarm)
        alarm.state, alarm.reason, alarm.reason_data = verdict.state, verdict.reason, verdict.reason_data
        alarm.state_updated = alarm.state_changed = now
        summary = f"Alarm updated from {old} to {alarm.state}"
        states = {"oldState": before, "newState": _told_state(alarm)}
        alarm.note(now, "StateUpdate", summary, {"version": "1.0", **states})
        log.info("alarm %s: %s -> %s: %s", alarm.name, old, alarm.state, alarm.reason)
        if alarm.does_act:
            for action in alarm.parameters.get(ACTIONS[alarm.state], []):
                if action.startswith("arn:aws:sns:"):
                    self._start_telling(alarm, old, action, now)
        self._state.changed("cloudwatch", alarm.region)

    def _start_telling(self, alarm: Alarm, old: str, topic: str, now: float) -> None:
        """Tells a topic in a thread of its own, since the topic waits for its subscribers: nobody else must."""
        subject, message = notifications.subject(alarm), notifications.message(alarm, old)

        def tell() -> None:
            try:
                self._tell(alarm, topic, subject, message, now)
            finally:
                self._telling.discard(threading.current_thread())

        thread = threading.Thread(target=tell, name=f"alarm-{alarm.name}", daemon=True)
        self._telling.add(thread)
        thread.start()

    def _tell(self, alarm: Alarm, topic: str, subject: str, message: str, now: float) -> None:
        told: dict[str, Any] = {"notificationResource": topic, "stateUpdateTimestamp": int(now * 1000)}
        try:
            notifications.publish(alarm.region, topic, subject, message)
        except Exception as error:  # whatever moto raises where there is no such topic
            log.warning("alarm %s: action %s: %s", alarm.name, topic, error)
            told |= {"actionState": "Failed", "publishedMessage": None, "error": str(error)}
            outcome = "Failed to execute"
        else:
            told |= {"actionState": "Succeeded", "publishedMessage": message, "error": None}
            outcome = "Successfully executed"
            self._state.changed("sqs", alarm.region)
        alarm.note(now, "Action", f"{outcome} action {topic}", told)
        self._state.changed("cloudwatch", alarm.region)

    def _scale(self, alarm: Alarm, points: Points) -> None:
        """Asks the scaling policies that an alarm names for its state."""
        for action in alarm.parameters.get(ACTIONS[alarm.state], []) if alarm.does_act else ():
            if ":scalingPolicy:" in action:
                self.on_scaling(Raised(alarm, action, points))


def _next_due(now: float, interval: int) -> float:
    """When an alarm is evaluated next: shortly after the periods end, so that their datapoints are there."""
    grace = GRACE * interval
    return ((now - grace) // interval + 1) * interval + grace


def _parents(child: Alarm) -> list[Alarm]:
    """The composite alarms whose rules name an alarm."""
    composites = [one for one in list(alarms_of(child.region).values()) if one.is_composite]
    return [one for one in composites if child.name in alarms_in(one.parameters["AlarmRule"])]


def _composite_state(alarm: Alarm) -> str:
    return ALARM if holds(alarm.parameters["AlarmRule"], lambda one: alarm_state(alarm.region, name_of(one))) else OK


def _children_data(children: Iterable[Alarm]) -> str:
    """Why a composite alarm is in its state, as JSON."""
    told = [
        {"arn": child.arn, "state": {"value": child.state, "timestamp": notifications.timestamp(child.state_changed)}}
        for child in children
    ]
    return json.dumps({"triggeringAlarms": told})


def _told_state(alarm: Alarm) -> dict[str, Any]:
    """The state of an alarm as its history tells it."""
    told: dict[str, Any] = {"stateValue": alarm.state, "stateReason": alarm.reason}
    return told | ({"stateReasonData": json.loads(alarm.reason_data)} if alarm.reason_data else {})
