"""The metrics of CloudWatch: what is put in, and what statistics say of it.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock

from whippet.local.clock import Clock

#: Region, namespace, name, dimensions.
Key = tuple[str, str, str, frozenset[tuple[str, str]]]

#: Seconds that values are kept: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#metrics-retention
HIGH_RESOLUTION_RETENTION = 3 * 3600
RETENTION = 15 * 24 * 3600
#: Distinct values of one point that percentiles tell apart exactly; beyond, those within 1 % of each other are one.
EXACT_VALUES = 256
BIN_WIDTH = math.log(1.01)

_PERCENTILE = re.compile(r"p(?P<percent>\d{1,2}(\.\d{1,10})?|100)")
STATISTICS = ("Average", "Maximum", "Minimum", "SampleCount", "Sum")


@dataclass(slots=True)
class Statistics:
    """What is known of the values of one period."""

    count: float = 0.0
    total: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf
    values: dict[float, float] = field(default_factory=dict)

    def add(self, value: float, count: float = 1.0) -> None:
        """Takes a value that was observed `count` times."""
        self.count += count
        self.total += value * count
        self.minimum = min(self.minimum, value)
        self.maximum = max(self.maximum, value)
        if value not in self.values and len(self.values) >= EXACT_VALUES:
            value = _bin(value)
        self.values[value] = self.values.get(value, 0.0) + count

    def add_set(self, count: float, total: float, minimum: float, maximum: float) -> None:
        """Takes a statistic set, of which percentiles know nothing but the mean."""
        if count <= 0:
            return
        self.count += count
        self.total += total
        self.minimum = min(self.minimum, minimum)
        self.maximum = max(self.maximum, maximum)
        mean = total / count
        self.values[mean] = self.values.get(mean, 0.0) + count

    def merge(self, other: Statistics) -> None:
        """Takes all that another period has."""
        self.count += other.count
        self.total += other.total
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        for value, count in other.values.items():
            if value not in self.values and len(self.values) >= EXACT_VALUES:
                value = _bin(value)
            self.values[value] = self.values.get(value, 0.0) + count

    def get(self, statistic: str) -> float:
        """One statistic: Average, Sum, Minimum, Maximum, SampleCount or a percentile such as p99.

        Raises:
            ValueError: there is no such statistic.
        """
        match statistic:
            case "Average":
                return self.total / self.count
            case "Sum":
                return self.total
            case "Minimum":
                return self.minimum
            case "Maximum":
                return self.maximum
            case "SampleCount":
                return self.count
        if not (found := _PERCENTILE.fullmatch(statistic)):
            raise ValueError(f"{statistic} is not a statistic")
        return self._percentile(float(found["percent"]))

    def _percentile(self, percent: float) -> float:
        """The smallest value that `percent` of the values do not exceed."""
        rank, seen = self.count * percent / 100, 0.0
        for value, count in sorted(self.values.items()):
            seen += count
            if seen >= rank - 1e-9:
                return value
        return self.maximum


def _bin(value: float) -> float:
    """The middle of the 1 % wide bin of a value."""
    if value == 0:
        return 0.0
    return math.copysign(math.exp(round(math.log(abs(value)) / BIN_WIDTH) * BIN_WIDTH), value)


def is_statistic(name: str) -> bool:
    """Whether CloudWatch's basic statistics or percentiles have this name."""
    return name in STATISTICS or _PERCENTILE.fullmatch(name) is not None


@dataclass(slots=True)
class Series:
    """The values of one metric with one unit, by the start of the second or minute they fall in."""

    unit: str
    points: dict[int, Statistics] = field(default_factory=dict)
    seconds: dict[int, Statistics] = field(default_factory=dict)
    last: float = 0.0

    def forget(self, now: float) -> None:
        """Folds seconds into minutes when they are three hours old, and drops minutes after fifteen days.

        Points come in the order of time, save for few, so the oldest ones stand first.
        """
        while self.seconds and (oldest := next(iter(self.seconds))) < now - HIGH_RESOLUTION_RETENTION:
            self.points.setdefault(oldest // 60 * 60, Statistics()).merge(self.seconds.pop(oldest))
        while self.points and (oldest := next(iter(self.points))) < now - RETENTION:
            del self.points[oldest]


class Metrics:
    """All metrics of local AWS.

    Args:
        clock: gives the time of a value that comes without one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._series: dict[Key, dict[str, Series]] = {}
        self._lock = Lock()

    def put(
        self,
        region: str,
        namespace: str,
        name: str,
        dimensions: Mapping[str, str],
        value: float,
        unit: str = "None",
        at: float | None = None,
        resolution: int = 60,
        count: float = 1.0,
    ) -> None:
        """Takes a value of a metric.

        Args:
            region: where it is.
            namespace: as in AWS/SageMaker.
            name: as in Invocations.
            dimensions: names and values.
            value: what was observed.
            unit: one of CloudWatch's.
            at: when, in seconds since 1970; now unless given.
            resolution: seconds; 1 for a high-resolution metric, 60 for another.
            count: how many times it was observed.
        """
        with self._lock:
            self._point(region, namespace, name, dimensions, unit, at, resolution).add(value, count)

    def put_set(
        self,
        region: str,
        namespace: str,
        name: str,
        dimensions: Mapping[str, str],
        values: tuple[float, float, float, float],
        unit: str = "None",
        at: float | None = None,
        resolution: int = 60,
    ) -> None:
        """Takes a statistic set: count, sum, minimum and maximum of values that were observed elsewhere."""
        with self._lock:
            self._point(region, namespace, name, dimensions, unit, at, resolution).add_set(*values)

    def query(
        self,
        region: str,
        namespace: str,
        name: str,
        dimensions: Mapping[str, str],
        start: float,
        end: float,
        period: int,
        unit: str | None = None,
    ) -> dict[int, Statistics]:
        """The values from `start` to before `end`, by the start of their period, oldest first.

        Args:
            region: where the metric is.
            namespace: its namespace.
            name: its name.
            dimensions: all of its dimensions.
            start: seconds since 1970.
            end: seconds since 1970.
            period: seconds; periods begin at its multiples.
            unit: only values of this unit.
        """
        found: dict[int, Statistics] = {}
        with self._lock:
            units = self._series.get((region, namespace, name, frozenset(dimensions.items())), {})
            for series in units.values():
                if unit is not None and series.unit != unit:
                    continue
                for points in (series.points, series.seconds):
                    for at, statistics in points.items():
                        if start <= at < end:
                            found.setdefault(at // period * period, Statistics()).merge(statistics)
        return dict(sorted(found.items()))

    def list(self, region: str) -> Iterable[tuple[str, str, dict[str, str], float]]:
        """Namespace, name, dimensions and the time of the last value of every metric of a region."""
        with self._lock:
            return [
                (namespace, name, dict(sorted(dimensions)), max(series.last for series in units.values()))
                for (where, namespace, name, dimensions), units in self._series.items()
                if where == region
            ]

    def reset(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._series.clear()

    def _point(
        self,
        region: str,
        namespace: str,
        name: str,
        dimensions: Mapping[str, str],
        unit: str,
        at: float | None,
        resolution: int,
    ) -> Statistics:
        now = self._clock.time() if at is None else at
        units = self._series.setdefault((region, namespace, name, frozenset(dimensions.items())), {})
        series = units.get(unit)
        if series is None:
            series = units[unit] = Series(unit)
        if now > series.last:
            series.last = now
        points, width = (series.seconds, 1) if resolution < 60 else (series.points, 60)
        start = int(now // width * width)
        point = points.get(start)
        if point is None:
            series.forget(self._clock.time())
            point = points[start] = Statistics()
        return point
