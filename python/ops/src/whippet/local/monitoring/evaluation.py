"""How CloudWatch gets from datapoints to the state of an alarm: a function of values, with nothing behind it.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from whippet.local.monitoring.metrics import percent_of

OK, ALARM, INSUFFICIENT_DATA = "OK", "ALARM", "INSUFFICIENT_DATA"

#: Periods that are looked at beyond the evaluation periods, to find late datapoints. CloudWatch does not say how many
#: it takes for which alarm; two is what its page shows for an alarm of three periods.
LOOK_BACK = 2

#: What missing data counts as, as a state's reason words it.
TREATED_AS = {"breaching": "Breaching", "notBreaching": "NonBreaching"}
#: Comparisons, and how a state's reason words them.
COMPARISONS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}


@dataclass(frozen=True)
class Rule:
    """What decides about a metric alarm.

    Attributes:
        comparison: one of `COMPARISONS`.
        threshold: what values are compared with.
        period: seconds of one datapoint.
        evaluation_periods: the N most recent datapoints that are looked at.
        datapoints_to_alarm: the M of them that must breach.
        missing: missing, ignore, breaching or notBreaching.
        statistic: what the values are, as in Average or p99; empty for an expression.
        unit: their unit; empty where any is taken.
    """

    comparison: str
    threshold: float
    period: int
    evaluation_periods: int
    datapoints_to_alarm: int
    missing: str = "missing"
    statistic: str = ""
    unit: str = ""

    def breaches(self, value: float) -> bool:
        """Whether a value is on the wrong side of the threshold."""
        return COMPARISONS[self.comparison][0](value, self.threshold)


@dataclass(frozen=True)
class Verdict:
    """A state and why it is so."""

    state: str
    reason: str
    reason_data: str | None


def evaluate(rule: Rule, points: Mapping[int, float], now: float, state: str) -> Verdict:
    """The state of an alarm.

    Args:
        rule: the alarm's.
        points: values by the start of their period, in seconds since 1970.
        now: seconds since 1970; a period counts once it is over.
        state: the state so far, which stays where the values say neither.
    """
    last = int(now // rule.period - 1) * rule.period
    range_ = [last - index * rule.period for index in range(rule.evaluation_periods + LOOK_BACK)]
    existing = [at for at in range_ if at in points]
    if len(existing) >= rule.evaluation_periods:  # late ones make up for missing ones
        used, missing = existing[: rule.evaluation_periods], 0
    else:
        used, missing = existing, rule.evaluation_periods - len(existing)
    new = _state(rule, [points[at] for at in used], missing, _oldest_breach(rule, points, range_), state)
    return Verdict(new, _reason(rule, points, used, missing, new, state), _reason_data(rule, points, used, now))


def samples_needed(statistic: str) -> float:
    """How many samples a percentile needs to be significant; 0 for any other statistic.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/percentiles-with-low-samples.html
    """
    percent = percent_of(statistic)
    if percent is None or percent in (0.0, 100.0):
        return 0.0
    return 10 / (1 - percent / 100) if percent >= 50 else 10 / (percent / 100)


def _oldest_breach(rule: Rule, points: Mapping[int, float], range_: list[int]) -> int:
    """How many periods ago the oldest breaching datapoint is, counted from 1 for the latest; 0 without any."""
    breaching = [index for index, at in enumerate(range_, 1) if at in points and rule.breaches(points[at])]
    return max(breaching, default=0)


def _state(rule: Rule, values: list[float], missing: int, oldest_breach: int, state: str) -> str:
    breaching = sum(rule.breaches(value) for value in values)
    if rule.missing == "breaching":
        breaching += missing
    if breaching >= rule.datapoints_to_alarm:
        return ALARM
    if missing == 0 or rule.missing in ("breaching", "notBreaching"):
        return OK
    if not values:
        return state if rule.missing == "ignore" else INSUFFICIENT_DATA
    if breaching < len(values):
        return OK
    # All that is there breaches, and it is too little. That is an alarm only where the oldest of it is as old as the
    # datapoints to alarm, so that the first bad value after a silence raises none.
    is_old_enough = oldest_breach >= rule.datapoints_to_alarm
    return ALARM if is_old_enough and rule.missing == "missing" else state


def _reason(rule: Rule, points: Mapping[int, float], used: list[int], missing: int, new: str, old: str) -> str:
    if new == INSUFFICIENT_DATA:
        return f"Insufficient Data: {_counted(missing, 'datapoint')} {_were(missing)} unknown."
    if not used:
        return (
            f"Threshold Crossed: no datapoints were received for {_counted(missing, 'period')} and "
            f"{_counted(missing, 'missing datapoint')} {_were(missing)} treated as "
            f"[{TREATED_AS.get(rule.missing, rule.missing)}]."
        )
    shown = [at for at in used if rule.breaches(points[at])] if new == ALARM else used
    shown = shown or used
    values = ", ".join(f"{points[at]} ({datetime.fromtimestamp(at, UTC):%d/%m/%y %H:%M:%S})" for at in shown)
    than = f"{COMPARISONS[rule.comparison][1]} the threshold ({rule.threshold})"
    were = _were(len(shown))
    if new != ALARM:
        return f"Threshold Crossed: {_counted(len(shown), 'datapoint')} [{values}] {were} not {than}."
    return (
        f"Threshold Crossed: {len(shown)} out of the last {rule.evaluation_periods} datapoints [{values}] {were} {than}"
        f" (minimum {_counted(rule.datapoints_to_alarm, 'datapoint')} for {old} -> ALARM transition)."
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _reason_data(rule: Rule, points: Mapping[int, float], used: list[int], now: float) -> str:
    data = {
        "version": "1.0",
        "queryDate": _timestamp(now),
        **({"startDate": _timestamp(used[-1])} if used else {}),
        **({"unit": rule.unit} if rule.unit else {}),
        **({"statistic": rule.statistic} if rule.statistic else {}),
        "period": rule.period,
        "recentDatapoints": [points[at] for at in reversed(used)],
        "threshold": rule.threshold,
        "evaluatedDatapoints": [{"timestamp": _timestamp(at), "value": points[at]} for at in used],
    }
    return json.dumps(data, separators=(",", ":"))


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "+0000")
