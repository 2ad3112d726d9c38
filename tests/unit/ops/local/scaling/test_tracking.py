from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whippet.local.scaling.tracking import Bounds, Cooldown, Seconds, scale_in, scale_out, step, steps_of

BOUNDS = Bounds(1, 5)
SECONDS = Seconds(out=30.0, in_=60.0)


@pytest.mark.parametrize(
    ("current", "metric", "wanted"),
    [(1, 15.0, 2), (1, 10.1, 2), (2, 20.0, 4), (1, 500.0, 5), (5, 50.0, 5), (3, 10.0, 3)],
)
def test_scale_out_brings_the_metric_down_to_its_target(current: int, metric: float, wanted: int) -> None:
    assert scale_out(current, metric, 10.0, BOUNDS, SECONDS, Cooldown(), 0.0) == wanted


@pytest.mark.parametrize(
    ("current", "metric", "wanted"), [(5, 0.0, 1), (5, 4.0, 2), (5, 8.9, 5), (3, 3.4, 2), (1, 0.0, 1), (2, 30.0, 2)]
)
def test_scale_in_keeps_the_metric_at_its_target(current: int, metric: float, wanted: int) -> None:
    assert scale_in(current, metric, 10.0, BOUNDS, SECONDS, Cooldown(), 0.0) == wanted


def test_what_a_cooling_scale_out_has_added_counts_towards_the_next() -> None:
    cooldown = Cooldown()
    cooldown.note(before=1, after=3, now=100.0)
    # The metric has not heard of the new instances yet, so it asks for the same 3 again.
    assert scale_out(3, 30.0, 10.0, BOUNDS, SECONDS, cooldown, 110.0) == 3
    # More traffic is answered at once all the same.
    assert scale_out(3, 40.0, 10.0, BOUNDS, SECONDS, cooldown, 110.0) == 4
    # Afterwards the three instances are the base.
    assert scale_out(3, 15.0, 10.0, BOUNDS, SECONDS, cooldown, 130.0) == 5


def test_scale_in_waits_for_both_cooldowns() -> None:
    cooldown = Cooldown()
    cooldown.note(before=1, after=5, now=100.0)
    assert scale_in(5, 0.0, 10.0, BOUNDS, SECONDS, cooldown, 129.0) == 5
    assert scale_in(5, 4.0, 10.0, BOUNDS, SECONDS, cooldown, 130.0) == 2
    cooldown.note(before=5, after=2, now=130.0)
    assert scale_in(2, 0.0, 10.0, BOUNDS, SECONDS, cooldown, 189.0) == 2
    assert scale_in(2, 0.0, 10.0, BOUNDS, SECONDS, cooldown, 190.0) == 1


def test_a_scale_out_ends_the_cooldown_of_a_scale_in() -> None:
    cooldown = Cooldown()
    cooldown.note(before=5, after=2, now=100.0)
    assert scale_out(2, 25.0, 10.0, BOUNDS, SECONDS, cooldown, 101.0) == 5
    cooldown.note(before=2, after=5, now=101.0)
    assert scale_in(5, 0.0, 10.0, BOUNDS, SECONDS, cooldown, 131.0) == 1


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
    out = scale_out(current, metric, target, bounds, SECONDS, Cooldown(), 0.0)
    in_ = scale_in(current, metric, target, bounds, SECONDS, Cooldown(), 0.0)
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
    assert step(10, distance, STEPS, kind, 0, Bounds(1, 50)) == wanted


def test_a_percentage_is_cut_to_whole_units_and_is_at_least_one_or_the_minimum_magnitude() -> None:
    (small,) = steps_of([{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 5}])
    assert step(10, 1.0, [small], "PercentChangeInCapacity", 0, Bounds(1, 50)) == 11
    assert step(10, 1.0, [small], "PercentChangeInCapacity", 4, Bounds(1, 50)) == 14
    (large,) = steps_of([{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 19}])
    assert step(10, 1.0, [large], "PercentChangeInCapacity", 0, Bounds(1, 50)) == 11


def test_no_step_for_a_distance_changes_nothing() -> None:
    (only,) = steps_of([{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 5}])
    assert step(10, -1.0, [only], "ChangeInCapacity", 0, Bounds(1, 50)) == 10
    assert only.upper == math.inf
