"""The metrics of CloudWatch: what is put in, and what statistics say of it.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock

from whippet.local.clock import Clock

#: Region, namespace, name, dimensions.
Key = tuple[str, str, str, frozenset[tuple[str, str]]]

#: Seconds that datapoints are kept, which is AWS's rule but for the last two lines of it: points of five minutes and of
#: an hour are not kept beyond those of a minute, so that memory stays bounded.
#: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#metrics-retention
HIGH_RESOLUTION_RETENTION = 3 * 3600
RETENTION = 15 * 24 * 3600
#: Seconds that single values are kept for percentiles; AWS keeps those as long as the datapoints.
VALUES_RETENTION = 24 * 3600
#: Distinct values that one point holds. Beyond, neighbours are taken together: first within 2 % of each other, then
#: within 4 %, and so on.
MAX_VALUES = 256
FINEST_BIN = math.log(1.02)

_PERCENTILE = re.compile(r"p(?P<percent>\d{1,2}(\.\d{1,10})?|100)")
STATISTICS = ("Average", "Maximum", "Minimum", "SampleCount", "Sum")


@dataclass(slots=True)
class Statistics:
    """What is known of the values of one period.

    Attributes:
        count: how many there are.
        total: their sum.
        minimum: the smallest.
        maximum: the largest.
        values: how often each was observed.
        bin_width: natural logarithm of the factor within which values are taken together; 0 where none are.
        has_values: whether `values` has all of them, without which there are no percentiles.
    """

    count: float = 0.0
    total: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf
    values: dict[float, float] = field(default_factory=dict)
    bin_width: float = 0.0
    has_values: bool = True

    def add(self, value: float, count: float = 1.0) -> None:
        """Takes a value that was observed `count` times."""
        self._add_summary(count, value * count, value, value)
        self._add_value(value, count)

    def add_set(self, count: float, total: float, minimum: float, maximum: float) -> None:
        """Takes a statistic set; unless its values are all the same, there are no percentiles any more.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html#Percentile-definition
        """
        if count <= 0:
            return
        self._add_summary(count, total, minimum, maximum)
        if minimum == maximum:
            self._add_value(minimum, count)
        else:
            self.forget_values()

    def merge(self, other: Statistics) -> None:
        """Takes all that another period has."""
        self._add_summary(other.count, other.total, other.minimum, other.maximum)
        if not other.has_values:
            self.forget_values()
            return
        self.bin_width = max(self.bin_width, other.bin_width)
        for value, count in other.values.items():
            self._add_value(value, count)

    def get(self, statistic: str) -> float | None:
        """One statistic: Average, Sum, Minimum, Maximum, SampleCount or a percentile such as p99.

        Returns:
            None where it is not known any more.

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
        if (percent := percent_of(statistic)) is None:
            raise ValueError(f"{statistic} is not a statistic")
        return self._percentile(percent) if self.has_values else None

    def forget_values(self) -> None:
        """Keeps the sums only."""
        self.values.clear()
        self.has_values = False

    def _percentile(self, percent: float) -> float:
        """The smallest value that `percent` of the values do not exceed."""
        rank, seen = self.count * percent / 100, 0.0
        for value, count in sorted(self.values.items()):
            seen += count
            if seen >= rank - 1e-9:
                return min(max(value, self.minimum), self.maximum)
        return self.maximum

    def _add_summary(self, count: float, total: float, minimum: float, maximum: float) -> None:
        self.count += count
        self.total += total
        self.minimum = min(self.minimum, minimum)
        self.maximum = max(self.maximum, maximum)

    def _add_value(self, value: float, count: float) -> None:
        if not self.has_values:
            return
        if self.bin_width:
            value = _bin(value, self.bin_width)
        self.values[value] = self.values.get(value, 0.0) + count
        while len(self.values) > MAX_VALUES:
            self.bin_width = self.bin_width * 2 or FINEST_BIN
            finer, self.values = self.values, {}
            for one, observed in finer.items():
                binned = _bin(one, self.bin_width)
                self.values[binned] = self.values.get(binned, 0.0) + observed


def _bin(value: float, width: float) -> float:
    """The middle of a value's bin."""
    if value == 0:
        return 0.0
    return math.copysign(math.exp((math.floor(math.log(abs(value)) / width) + 0.5) * width), value)


def percent_of(statistic: str) -> float | None:
    """The 99.9 of p99.9; None where a statistic is no percentile."""
    found = _PERCENTILE.fullmatch(statistic)
    return float(found["percent"]) if found else None


def is_statistic(name: str) -> bool:
    """Whether it is one of CloudWatch's basic statistics or a percentile."""
    return name in STATISTICS or percent_of(name) is not None


@dataclass(slots=True)
class Series:
    """The values of one metric with one unit, by the start of the second or minute they fall in.

    Attributes:
        minutes: the points of a minute.
        seconds: the points of a second.
        last: when the latest value was observed, in seconds since 1970.
        detailed_since: the earliest minute that still has its values.
    """

    minutes: dict[int, Statistics] = field(default_factory=dict)
    seconds: dict[int, Statistics] = field(default_factory=dict)
    last: float = 0.0
    detailed_since: int | None = None

    def point(self, at: float, resolution: int, now: float) -> Statistics:
        """The point that a value belongs to."""
        self.last = max(self.last, at)
        points, width = (self.seconds, 1) if resolution < 60 else (self.minutes, 60)
        start = int(at // width * width)
        point = points.get(start)
        if point is None:
            self._forget(now)
            point = points[start] = Statistics()
        return point

    def between(self, start: float, end: float) -> Iterator[tuple[int, Statistics]]:
        """The points that begin from `start` to before `end`, with when they do."""
        for points, width in ((self.minutes, 60), (self.seconds, 1)):
            asked = range(math.ceil(start / width) * width, math.ceil(end), width)
            fewer = asked if len(asked) < len(points) else [at for at in points if start <= at < end]
            yield from ((at, points[at]) for at in fewer if at in points)

    def _forget(self, now: float) -> None:
        """Folds seconds into minutes, drops the values of old minutes, then the minutes themselves.

        Points come in the order of time, save for few, so the oldest ones stand first.
        """
        while self.seconds and (oldest := next(iter(self.seconds))) < now - HIGH_RESOLUTION_RETENTION:
            self.minutes.setdefault(oldest // 60 * 60, Statistics()).merge(self.seconds.pop(oldest))
        while self.minutes and (oldest := next(iter(self.minutes))) < now - RETENTION:
            del self.minutes[oldest]
        until = int(now - VALUES_RETENTION) // 60 * 60
        for at in range(until if self.detailed_since is None else self.detailed_since, until, 60):
            if at in self.minutes:
                self.minutes[at].forget_values()
        self.detailed_since = until


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
        start = max(start, self._clock.time() - RETENTION)
        with self._lock:
            units = self._series.get((region, namespace, name, frozenset(dimensions.items())), {})
            for one, series in units.items():
                if unit is None or unit == one:
                    for at, statistics in series.between(start, end):
                        found.setdefault(at // period * period, Statistics()).merge(statistics)
        return dict(sorted(found.items()))

    def units(self, region: str, namespace: str, name: str, dimensions: Mapping[str, str]) -> Sequence[str]:
        """The units that a metric has values of."""
        with self._lock:
            return tuple(self._series.get((region, namespace, name, frozenset(dimensions.items())), {}))

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
        now = self._clock.time()
        key = (region, namespace, name, frozenset(dimensions.items()))
        units = self._series.get(key)
        if units is None:
            self._forget_silent(now)
            units = self._series[key] = {}
        series = units.get(unit)
        if series is None:
            series = units[unit] = Series()
        return series.point(now if at is None else at, resolution, now)

    def _forget_silent(self, now: float) -> None:
        """Drops the metrics that had no value for so long that none of theirs is kept."""
        for key, units in tuple(self._series.items()):
            if all(series.last < now - RETENTION for series in units.values()):
                del self._series[key]
