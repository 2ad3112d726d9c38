"""How a scaling policy gets from a metric to a capacity: functions of values, with nothing behind them.

https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """What a scalable target allows."""

    minimum: int
    maximum: int

    def clip(self, capacity: int) -> int:
        """The allowed capacity that is nearest."""
        return max(self.minimum, min(self.maximum, capacity))


@dataclass(frozen=True)
class Seconds:
    """Cooldowns of a policy, in seconds."""

    out: float
    in_: float


@dataclass
class Cooldown:
    """The cooldowns of one target that last.

    Attributes:
        out_until: when the one of the last scale-out ends, in seconds since 1970.
        out_base: the capacity before that scale-out.
        in_until: when the one of the last scale-in ends.
    """

    out_until: float = -math.inf
    out_base: int = 0
    in_until: float = -math.inf

    def base(self, current: int, now: float) -> int:
        """The capacity that a scale-out is counted from.

        While the cooldown of the last one lasts, what it has added counts towards what is needed, as the metric may not
        tell of it yet. So nothing is added, unless more is needed than before.
        """
        return min(self.out_base, current) if now < self.out_until else current

    def holds_in(self, now: float) -> bool:
        """Whether a target tracking policy may not scale in; that a scale-out's cooldown holds it up is assumed."""
        return now < max(self.in_until, self.out_until)

    def begin(self, base: int, after: int, seconds: Seconds, now: float) -> None:
        """Begins the cooldown of a change that is fulfilled now; a scale-out ends the one of a scale-in.

        Args:
            base: the capacity that the change was counted from.
            after: the capacity now.
            seconds: the cooldowns of the policy that asked for it.
            now: seconds since 1970.
        """
        if after > base:
            self.out_until, self.out_base, self.in_until = now + seconds.out, base, -math.inf
        elif after < base:
            self.in_until = now + seconds.in_


def scale_out(base: int, current: int, metric: float, target: float, bounds: Bounds) -> int:
    """The capacity that brings a metric per unit of capacity down to its target; `current` where none is added.

    AWS does not say how it computes that. In proportion to the metric's latest value is what its pages suggest, which
    assume "that the metric changes in proportion to the number of instances".

    Args:
        base: the capacity that is counted from, as `Cooldown.base` gives it.
        current: capacity now.
        metric: its latest value, per unit of capacity.
        target: what it is to be.
        bounds: of the target.
    """
    return max(current, bounds.clip(_needed(base, metric, target)))


def scale_in(current: int, metric: float, target: float, bounds: Bounds, cooldown: Cooldown, now: float) -> int:
    """The smallest capacity that keeps the metric at its target; `current` while a cooldown lasts.

    That it removes at once all that the target allows is an assumption: AWS scales in "gradually" and does not say how.
    """
    if cooldown.holds_in(now):
        return current
    return min(current, bounds.clip(_needed(current, metric, target)))


def _needed(capacity: int, metric: float, target: float) -> int:
    """The capacity among which the metric's total is at most the target each."""
    return math.ceil(capacity * metric / target * (1 - 1e-12))  # 3 * 0.1 / 0.1 is a little more than 3


@dataclass(frozen=True)
class Step:
    """A step adjustment: what to do where the metric's distance to the alarm's threshold is in [lower, upper)."""

    lower: float
    upper: float
    adjustment: int

    def covers(self, distance: float) -> bool:
        """Whether the step is for this distance; beyond a threshold from below the upper bound is the inclusive one."""
        if distance < 0:
            return self.lower < distance <= self.upper
        return self.lower <= distance < self.upper


@dataclass(frozen=True)
class Steps:
    """A step scaling policy.

    Attributes:
        steps: what to do at which distance.
        kind: ChangeInCapacity, PercentChangeInCapacity or ExactCapacity.
        minimum_magnitude: units that a change in percent adds or removes at least.
    """

    steps: Sequence[Step]
    kind: str
    minimum_magnitude: int = 0


def step(current: int, distance: float, policy: Steps, bounds: Bounds, cooldown: Cooldown, now: float) -> int:
    """The capacity that a step scaling policy asks for; `current` where it changes nothing or has to wait.

    Args:
        current: capacity now.
        distance: the metric less the alarm's threshold.
        policy: what to do.
        bounds: of the target.
        cooldown: what has happened.
        now: seconds since 1970.
    """
    out = _stepped(cooldown.base(current, now), distance, policy, bounds)
    if out > current:
        return out
    in_ = _stepped(current, distance, policy, bounds)
    return in_ if in_ < current and now >= cooldown.in_until else current


def _stepped(current: int, distance: float, policy: Steps, bounds: Bounds) -> int:
    adjustment = next((one.adjustment for one in policy.steps if one.covers(distance)), None)
    if adjustment is None:
        return current
    if policy.kind == "ExactCapacity":
        return bounds.clip(adjustment)
    if policy.kind == "ChangeInCapacity":
        return bounds.clip(current + adjustment)
    return bounds.clip(current + _units(current * adjustment / 100, policy.minimum_magnitude))


def _units(change: float, minimum_magnitude: int) -> int:
    """A change in percent as whole units: beyond 1 it is cut, below 1 it is 1, either way away from nothing."""
    if change == 0:
        return 0
    units = max(1, math.floor(abs(change)), minimum_magnitude)
    return units if change > 0 else -units


def steps_of(adjustments: Sequence[dict[str, float]]) -> list[Step]:
    """Step adjustments as PutScalingPolicy has them; a missing bound is infinite."""
    return [
        Step(
            float(one.get("MetricIntervalLowerBound", -math.inf)),
            float(one.get("MetricIntervalUpperBound", math.inf)),
            int(one["ScalingAdjustment"]),
        )
        for one in adjustments
    ]
