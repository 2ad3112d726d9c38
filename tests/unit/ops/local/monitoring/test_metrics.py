from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whippet.local.clock import Clock
from whippet.local.monitoring.metrics import MAX_VALUES, Metrics, Statistics

WHERE = ("us-east-1", "AWS/Test", "Latency", {"Name": "one"})


class Wall:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_statistics_of_a_period() -> None:
    metrics = Metrics(Clock(starts_at=1200.0))
    for value in range(1, 101):
        metrics.put(*WHERE, float(value))
    (at, statistics), *others = metrics.query(*WHERE, 0, 9999, 300).items()
    assert (at, others) == (1200, [])
    names = ("Average", "Sum", "Minimum", "Maximum", "SampleCount", "p50", "p99", "p100")
    assert [statistics.get(name) for name in names] == [50.5, 5050.0, 1.0, 100.0, 100.0, 50.0, 99.0, 100.0]
    with pytest.raises(ValueError, match="not a statistic"):
        statistics.get("p101")


def test_values_fall_into_the_periods_of_their_times() -> None:
    metrics = Metrics(Clock(starts_at=0.0))
    for at in (59.0, 60.0, 119.0, 120.0):
        metrics.put(*WHERE, 1.0, at=at)
    assert {at: found.count for at, found in metrics.query(*WHERE, 0, 180, 60).items()} == {0: 1.0, 60: 2.0, 120: 1.0}
    assert list(metrics.query(*WHERE, 60, 120, 60)) == [60]


def test_high_resolution_tells_seconds_apart_for_three_hours_and_minutes_afterwards() -> None:
    wall = Wall()
    metrics = Metrics(Clock(starts_at=0.0, monotonic=wall))
    for at in (10.0, 11.0):
        metrics.put(*WHERE, 1.0, at=at, resolution=1)
    assert list(metrics.query(*WHERE, 0, 60, 1)) == [10, 11]
    wall.now = 4 * 3600.0
    metrics.put(*WHERE, 1.0, resolution=1)
    assert {at: found.count for at, found in metrics.query(*WHERE, 0, 60, 1).items()} == {0: 2.0}
    wall.now = 16 * 24 * 3600.0
    metrics.put(*WHERE, 1.0)
    assert list(metrics.query(*WHERE, 0, 3600, 60)) == []


def test_units_are_told_apart_where_asked() -> None:
    metrics = Metrics(Clock(starts_at=0.0))
    metrics.put(*WHERE, 1.0, "Seconds")
    metrics.put(*WHERE, 2.0, "Bytes")
    assert metrics.query(*WHERE, 0, 60, 60)[0].total == 3.0
    assert metrics.query(*WHERE, 0, 60, 60, "Bytes")[0].total == 2.0


@given(st.lists(st.floats(min_value=1.0, max_value=1e3), min_size=1, max_size=2000), st.sampled_from([1, 50, 90, 99]))
def test_a_percentile_is_near_the_exact_one(values: list[float], percent: int) -> None:
    statistics = Statistics()
    for value in values:
        statistics.add(value)
    exact = sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]
    tolerance = 0.0 if len(set(values)) <= MAX_VALUES else 0.04
    assert statistics.get(f"p{percent}") == pytest.approx(exact, rel=tolerance)


def test_a_point_stays_small_however_many_values_it_has() -> None:
    statistics, random = Statistics(), Random(0)
    for _ in range(100_000):
        statistics.add(random.lognormvariate(8, 1))
    assert statistics.count == 100_000
    assert len(statistics.values) <= MAX_VALUES


def test_minutes_keep_their_values_for_a_day_and_their_sums_for_longer() -> None:
    wall = Wall()
    metrics = Metrics(Clock(starts_at=0.0, monotonic=wall))
    for value in (1.0, 3.0):
        metrics.put(*WHERE, value)
    wall.now = 2 * 24 * 3600.0
    metrics.put(*WHERE, 5.0)
    old = metrics.query(*WHERE, 0, 60, 60)[0]
    assert (old.get("Sum"), old.get("p50")) == (4.0, None)


def test_metrics_that_fall_silent_are_forgotten() -> None:
    wall = Wall()
    metrics = Metrics(Clock(starts_at=0.0, monotonic=wall))
    metrics.put(*WHERE, 1.0)
    wall.now = 16 * 24 * 3600.0
    metrics.put("us-east-1", "AWS/Test", "Other", {}, 1.0)
    assert [name for _, name, _, _ in metrics.list("us-east-1")] == ["Other"]


def test_a_statistic_set_counts_as_its_values() -> None:
    metrics = Metrics(Clock(starts_at=0.0))
    metrics.put_set(*WHERE, (4.0, 20.0, 1.0, 9.0))
    metrics.put(*WHERE, 30.0)
    found = metrics.query(*WHERE, 0, 60, 60)[0]
    assert (found.get("SampleCount"), found.get("Sum"), found.get("Maximum")) == (5.0, 50.0, 30.0)
    assert found.get("p50") is None  # nobody knows the single values
    metrics.put_set(*WHERE, (3.0, 21.0, 7.0, 7.0), at=60.0)
    assert metrics.query(*WHERE, 60, 120, 60)[60].get("p50") == 7.0
