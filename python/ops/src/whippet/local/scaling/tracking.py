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


@dataclass
class Cooldown:
    """What the cooldowns of one target are counted from.

    Attributes:
        scaled_out_at: when capacity was last added, in seconds since 1970.
        scaled_out_from: the capacity before that.
        scaled_in_at: when capacity was last removed.
    """

    scaled_out_at: float = -math.inf
    scaled_out_from: int = 0
    scaled_in_at: float = -math.inf

    def note(self, before: int, after: int, now: float) -> None:
        """Remembers a change of capacity; one that adds ends the cooldown of one that removed."""
        if after > before:
            self.scaled_out_at, self.scaled_out_from, self.scaled_in_at = now, before, -math.inf
        elif after < before:
            self.scaled_in_at = now


@dataclass(frozen=True)
class Seconds:
    """Cooldowns of a policy, in seconds."""

    out: float
    in_: float


def scale_out(
    current: int, metric: float, target: float, bounds: Bounds, seconds: Seconds, cooldown: Cooldown, now: float
) -> int:
    """The capacity that brings a metric per unit of capacity down to its target; `current` where none is added.

    While the cooldown of the last scale-out lasts, what it has added counts towards what is needed: the metric may not
    tell of it yet.

    Args:
        current: capacity now.
        metric: per unit of capacity.
        target: what it is to be.
        bounds: of the target.
        seconds: the policy's cooldowns.
        cooldown: what has happened.
        now: seconds since 1970.
    """
    cools = now < cooldown.scaled_out_at + seconds.out
    base = cooldown.scaled_out_from if cools else current
    return max(current, bounds.clip(math.ceil(base * metric / target)))


def scale_in(
    current: int, metric: float, target: float, bounds: Bounds, seconds: Seconds, cooldown: Cooldown, now: float
) -> int:
    """The smallest capacity that keeps the metric at its target; `current` while a cooldown lasts.

    AWS says that it scales in "gradually" and not how. That it removes no more than what the target allows is an
    assumption.
    """
    if now < max(cooldown.scaled_in_at + seconds.in_, cooldown.scaled_out_at + seconds.out):
        return current
    return min(current, bounds.clip(math.ceil(current * metric / target)))


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


def step(
    current: int, distance: float, steps: Sequence[Step], kind: str, minimum_magnitude: int, bounds: Bounds
) -> int:
    """The capacity that a step scaling policy asks for.

    Args:
        current: capacity now.
        distance: the metric less the alarm's threshold.
        steps: the policy's.
        kind: ChangeInCapacity, PercentChangeInCapacity or ExactCapacity.
        minimum_magnitude: units that a change in percent adds or removes at least.
        bounds: of the target.
    """
    adjustment = next((one.adjustment for one in steps if one.covers(distance)), None)
    if adjustment is None:
        return current
    if kind == "ExactCapacity":
        return bounds.clip(adjustment)
    if kind == "ChangeInCapacity":
        return bounds.clip(current + adjustment)
    return bounds.clip(current + _units(current * adjustment / 100, minimum_magnitude))


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
