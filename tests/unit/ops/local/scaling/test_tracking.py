from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whippet.local.monitoring.evaluation import ALARM, INSUFFICIENT_DATA, Rule, evaluate
from whippet.local.scaling.tracking import Bounds, Cooldown, Seconds, Steps, scale_in, scale_out, step, steps_of

BOUNDS = Bounds(1, 5)
SECONDS = Seconds(out=30.0, in_=60.0)


@pytest.mark.parametrize(
    ("current", "metric", "wanted"),
    [(1, 15.0, 2), (1, 10.1, 2), (2, 20.0, 4), (1, 500.0, 5), (5, 50.0, 5), (3, 10.0, 3)],
)
def test_scale_out_brings_the_metric_down_to_its_target(current: int, metric: float, wanted: int) -> None:
    assert scale_out(current, current, metric, 10.0, BOUNDS) == wanted


@pytest.mark.parametrize(
    ("current", "metric", "wanted"), [(5, 0.0, 1), (5, 4.0, 2), (5, 8.9, 5), (3, 3.4, 2), (1, 0.0, 1), (2, 30.0, 2)]
)
def test_scale_in_keeps_the_metric_at_its_target(current: int, metric: float, wanted: int) -> None:
    assert scale_in(current, metric, 10.0, BOUNDS, Cooldown(), 0.0) == wanted


def test_a_metric_at_its_target_asks_for_nothing_whatever_its_fractions() -> None:
    for current in range(1, 50):
        assert scale_out(current, current, 0.1, 0.1, Bounds(1, 100)) == current
        assert scale_in(current, 0.1, 0.1, Bounds(1, 100), Cooldown(), 0.0) == current


def test_what_a_cooling_scale_out_has_added_counts_towards_the_next() -> None:
    cooldown = Cooldown()
    cooldown.begin(base=1, after=3, seconds=SECONDS, now=100.0)

    def wanted(current: int, metric: float, now: float) -> int:
        return scale_out(cooldown.base(current, now), current, metric, 10.0, BOUNDS)

    # The metric has not heard of the new instances yet, so it asks for the same 3 again.
    assert wanted(3, 30.0, 110.0) == 3
    # More traffic is answered at once all the same, and still counted from the one instance that there was.
    assert wanted(3, 40.0, 110.0) == 4
    cooldown.begin(base=cooldown.base(3, 110.0), after=4, seconds=SECONDS, now=112.0)
    assert wanted(4, 40.0, 113.0) == 4
    # Afterwards the four instances are the base.
    assert wanted(4, 12.0, 142.0) == 5


def test_scale_in_waits_for_both_cooldowns() -> None:
    cooldown = Cooldown()
    cooldown.begin(base=1, after=5, seconds=SECONDS, now=100.0)
    assert scale_in(5, 0.0, 10.0, BOUNDS, cooldown, 129.0) == 5
    assert scale_in(5, 4.0, 10.0, BOUNDS, cooldown, 130.0) == 2
    cooldown.begin(base=5, after=2, seconds=SECONDS, now=130.0)
    assert scale_in(2, 0.0, 10.0, BOUNDS, cooldown, 189.0) == 2
    assert scale_in(2, 0.0, 10.0, BOUNDS, cooldown, 190.0) == 1


def test_a_scale_out_does_not_wait_for_the_cooldown_of_a_scale_in_and_ends_it() -> None:
    cooldown = Cooldown()
    cooldown.begin(base=5, after=2, seconds=SECONDS, now=100.0)
    assert scale_out(cooldown.base(2, 101.0), 2, 25.0, 10.0, BOUNDS) == 5
    cooldown.begin(base=2, after=5, seconds=SECONDS, now=101.0)
    assert scale_in(5, 0.0, 10.0, BOUNDS, cooldown, 131.0) == 1


@given(
    current=st.integers(1, 50),
    metric=st.floats(0, 1e6),
    target=st.floats(0.01, 1e4),
    low=st.integers(1, 20),
    more=st.integers(0, 30),
)
def test_a_decision_stays_in_bounds_and_never_turns_back(
    current: int, metric: float, target: float, low: int, more: int
) -> None:
    bounds = Bounds(low, low + more)
    current = bounds.clip(current)
    out = scale_out(current, current, metric, target, bounds)
    in_ = scale_in(current, metric, target, bounds, Cooldown(), 0.0)
    assert bounds.minimum <= in_ <= current <= out <= bounds.maximum
    if current < out < bounds.maximum:
        assert current * metric / out <= target * (1 + 1e-9)


STEPS = steps_of(
    [
        {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 10},
        {"MetricIntervalLowerBound": 10, "ScalingAdjustment": 30},
        {"MetricIntervalUpperBound": 0, "ScalingAdjustment": -10},
    ]
)


def stepped(current: int, distance: float, policy: Steps) -> int:
    return step(current, distance, policy, Bounds(1, 50), Cooldown(), 0.0)


@pytest.mark.parametrize(
    ("distance", "kind", "wanted"),
    [
        (5.0, "PercentChangeInCapacity", 11),
        (10.0, "PercentChangeInCapacity", 13),
        (-1.0, "PercentChangeInCapacity", 9),
        (5.0, "ExactCapacity", 10),
        (10.0, "ChangeInCapacity", 40),
    ],
)
def test_steps(distance: float, kind: str, wanted: int) -> None:
    """https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html."""
    assert stepped(10, distance, Steps(STEPS, kind)) == wanted


def test_a_percentage_is_cut_to_whole_units_and_is_at_least_one_or_the_minimum_magnitude() -> None:
    (small,) = steps_of([{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 5}])
    assert stepped(10, 1.0, Steps([small], "PercentChangeInCapacity")) == 11
    assert stepped(10, 1.0, Steps([small], "PercentChangeInCapacity", 4)) == 14
    (large,) = steps_of([{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 19}])
    assert stepped(10, 1.0, Steps([large], "PercentChangeInCapacity")) == 11


def test_no_step_for_a_distance_changes_nothing() -> None:
    (only,) = steps_of([{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 5}])
    assert stepped(10, -1.0, Steps([only], "ChangeInCapacity")) == 10
    assert only.upper == math.inf


def test_a_larger_step_adds_only_what_the_cooling_one_has_not() -> None:
    """https://docs.aws.amazon.com/autoscaling/application/APIReference/API_StepScalingPolicyConfiguration.html."""
    steps = [
        {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 2},
        {"MetricIntervalLowerBound": 10, "ScalingAdjustment": 3},
        {"MetricIntervalUpperBound": 0, "ScalingAdjustment": -1},
    ]
    policy, cooldown = Steps(steps_of(steps), "ChangeInCapacity"), Cooldown()
    cooldown.begin(base=4, after=6, seconds=SECONDS, now=100.0)

    def wanted(current: int, distance: float, now: float) -> int:
        return step(current, distance, policy, Bounds(1, 50), cooldown, now)

    assert wanted(6, 5.0, 110.0) == 6
    assert wanted(6, 15.0, 110.0) == 7
    assert wanted(6, 5.0, 130.0) == 8
    cooldown.begin(base=6, after=5, seconds=SECONDS, now=200.0)
    assert wanted(5, -5.0, 259.0) == 5
    assert wanted(5, -5.0, 260.0) == 4
    assert wanted(5, 5.0, 201.0) == 7


@dataclass
class World:
    """An endpoint under a load, with the alarms and the policy that AWS would give it, and no time in between."""

    period: int
    target: float
    seconds: Seconds
    capacity: int = 1
    cooldown: Cooldown = field(default_factory=Cooldown)
    points: dict[int, float] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=lambda: {"high": INSUFFICIENT_DATA, "low": INSUFFICIENT_DATA})
    changes: list[tuple[int, int]] = field(default_factory=list)

    def run(self, load: dict[int, float], until: int) -> None:
        """Goes through time; the load is a total, by the time from which on it holds."""
        high = Rule("GreaterThanThreshold", self.target, self.period, 3, 3)
        lows = 900 // self.period
        low = Rule("LessThanThreshold", self.target * 0.9, self.period, lows, lows)
        for now in range(0, until, self.period):
            total = next(load[since] for since in sorted(load, reverse=True) if since <= now)
            self.points[now] = total / self.capacity
            end = now + self.period
            for name, rule in (("high", high), ("low", low)):
                self.states[name] = evaluate(rule, self.points, end, self.states[name]).state
            wanted, before, metric = self.capacity, self.capacity, self.points[now]
            if self.states["high"] == ALARM:
                wanted = scale_out(self.cooldown.base(before, end), before, metric, self.target, BOUNDS)
            elif self.states["low"] == ALARM:
                wanted = scale_in(before, metric, self.target, BOUNDS, self.cooldown, end)
            if wanted != before:
                self.cooldown.begin(
                    self.cooldown.base(before, end) if wanted > before else before, wanted, self.seconds, end
                )
                self.capacity = wanted
                self.changes.append((end, wanted))


@pytest.mark.parametrize(
    ("period", "changes"),
    [
        # Three minutes of 50 a minute on one instance; then 15 minutes without any.
        (60, [(780, 5), (2100, 1)]),
        # The same with datapoints of ten seconds: out after half a minute, in after the same 15 minutes.
        (10, [(630, 5), (2100, 1)]),
    ],
)
def test_a_spike_scales_out_at_once_and_in_after_a_quarter_of_an_hour(
    period: int, changes: list[tuple[int, int]]
) -> None:
    world = World(period, 10.0, SECONDS)
    world.run({0: 5.0, 600: 50.0, 1200: 0.0}, 3600)
    assert world.changes == changes


def test_a_slow_climb_is_followed_step_by_step() -> None:
    world = World(60, 10.0, Seconds(out=300.0, in_=300.0))
    world.run({0: 5.0, 600: 15.0, 1800: 45.0}, 3000)
    assert world.changes == [(780, 2), (1980, 5)]
