"""What metric queries give, as GetMetricData and the alarms of metric math ask them.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDataQuery.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from whippet.local.monitoring.expressions import ExpressionError, Points, Scope, evaluate
from whippet.local.monitoring.metrics import Metrics, Statistics


def computed(
    metrics: Metrics,
    region: str,
    queries: Sequence[Mapping[str, Any]],
    start: float,
    end: float,
    wanted: str | None = None,
) -> Points:
    """The result of metric queries: of the one whose id is `wanted`, or of the one that returns data.

    Raises:
        ExpressionError: an expression cannot be evaluated.
    """
    series = {
        query["Id"]: _statistic(metrics, region, query["MetricStat"], start, end)
        for query in queries
        if "MetricStat" in query
    }
    ids, period = tuple(series), period_of(queries)
    instants = range(int(start // period * period), int(end), period)
    pending = [query for query in queries if "Expression" in query]
    while pending:  # an expression may name another one
        waiting: list[Mapping[str, Any]] = []
        for query in pending:
            try:
                series[query["Id"]] = evaluate(query["Expression"], Scope(series, ids, instants, period))
            except ExpressionError:
                if len(waiting) == len(pending) - 1:  # none of them could be evaluated
                    raise
                waiting.append(query)
        pending = waiting
    chosen = wanted or next(query["Id"] for query in queries if query.get("ReturnData", True))
    return series[chosen]


def period_of(queries: Iterable[Mapping[str, Any]]) -> int:
    """Seconds of one datapoint of what metric queries give: the longest period among them."""
    periods = [query["MetricStat"]["Period"] if "MetricStat" in query else query.get("Period", 0) for query in queries]
    return max(periods, default=0) or 60


def dimensions_of(members: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Dimensions as requests have them, as names and values."""
    return {one["Name"]: one["Value"] for one in members}


def points_of(found: Mapping[int, Statistics], statistic: str) -> Points:
    """One statistic of each period that has it."""
    return {at: value for at, one in found.items() if (value := one.get(statistic)) is not None}


def _statistic(metrics: Metrics, region: str, stat: Mapping[str, Any], start: float, end: float) -> Points:
    metric, period = stat["Metric"], int(stat["Period"])
    found = metrics.query(
        region,
        metric["Namespace"],
        metric["MetricName"],
        dimensions_of(metric.get("Dimensions", [])),
        start // period * period,
        end,
        period,
        stat.get("Unit"),
    )
    return points_of(found, stat["Stat"])
