"""CloudWatch's operations on metrics.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/Welcome.html
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.clock import Clock
from whippet.local.monitoring.expressions import ExpressionError
from whippet.local.monitoring.metrics import STATISTICS, Metrics, Statistics, is_statistic, percent_of
from whippet.local.monitoring.paging import page
from whippet.local.monitoring.queries import computed, dimensions_of
from whippet.local.services import Forward, Handlers

#: Points that one answer of GetMetricStatistics may have, and one of GetMetricData.
MAX_POINTS, DATA_PAGE = 1440, 100_800
#: Values of one datum of PutMetricData.
MAX_VALUES = 150
#: Metrics of one page of ListMetrics.
METRICS_PAGE = 500
#: ListMetrics tells of metrics that had data in the last two weeks, or hours where only the active ones are asked for.
LISTED_SECONDS, ACTIVE_SECONDS = 14 * 24 * 3600, 3 * 3600
#: How far from now the time of a value may be, in seconds.
PAST, FUTURE = 14 * 24 * 3600, 2 * 3600


class MetricCalls:
    """Metrics as callers see them.

    Args:
        clock: when values are put.
        metrics: what is put and asked for.
    """

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        operations = {
            "GetMetricData": self.get_data,
            "GetMetricStatistics": self.get_statistics,
            "ListMetrics": self.list,
            "PutMetricData": self.put,
        }
        return {("cloudwatch", name): handler for name, handler in operations.items()}

    def put(self, call: Call, forward: Forward) -> Response:
        """PutMetricData; all of it or nothing."""
        namespace = call.params["Namespace"]
        if namespace.startswith("AWS/"):
            message = "The value AWS/ for parameter Namespace is invalid: it is reserved for AWS."
            raise AwsError("InvalidParameterValue", message)
        data = call.params.get("MetricData", [])
        for datum in data:
            self._check(datum)
        for datum in data:
            self._put(call.region, namespace, datum)
        return answer(call)

    def get_statistics(self, call: Call, forward: Forward) -> Response:
        """GetMetricStatistics."""
        params = call.params
        start, end, period = params["StartTime"].timestamp(), params["EndTime"].timestamp(), params["Period"]
        if start >= end:
            message = "The parameter StartTime must be less than the parameter EndTime."
            raise AwsError("InvalidParameterValue", message)
        check_period(period)
        if (end - start) / period > MAX_POINTS:
            message = f"You have requested up to {int((end - start) / period):,} datapoints, which exceeds the limit"
            raise AwsError("InvalidParameterCombination", f"{message} of {MAX_POINTS:,}.")
        plain, extended = params.get("Statistics", []), params.get("ExtendedStatistics", [])
        if not plain and not extended:
            message = "At least one of the parameters Statistics and ExtendedStatistics must be specified."
            raise AwsError("InvalidParameterCombination", message)
        check_statistics(plain, extended)
        where = (call.region, params["Namespace"], params["MetricName"], dimensions_of(params.get("Dimensions", [])))
        units = [params["Unit"]] if "Unit" in params else self._metrics.units(*where)
        points = [
            _datapoint(at, unit, statistics, plain, extended)
            for unit in units
            for at, statistics in self._metrics.query(*where, start // period * period, end, period, unit).items()
        ]
        return answer(call, {"Label": params["MetricName"], "Datapoints": [one for one in points if len(one) > 2]})

    def get_data(self, call: Call, forward: Forward) -> Response:
        """GetMetricData; a page has so many datapoints, and a metric may go on in the next one."""
        params = call.params
        queries = params["MetricDataQueries"]
        check_queries(queries)
        start, end = params["StartTime"].timestamp(), params["EndTime"].timestamp()
        if start >= end:
            raise AwsError("ValidationError", "The parameter StartTime must be less than the parameter EndTime.")
        is_ascending = params.get("ScanBy") == "TimestampAscending"
        wanted = [query for query in queries if query.get("ReturnData", True)]
        found: list[tuple[str, int, float]] = []
        for query in wanted:
            try:
                points = computed(self._metrics, call.region, queries, start, end, query["Id"])
            except ExpressionError as error:
                raise AwsError("ValidationError", f"Error in expression '{query['Id']}': {error}") from error
            found += [(query["Id"], at, points[at]) for at in sorted(points, reverse=not is_ascending)]
        size = min(params.get("MaxDatapoints", DATA_PAGE), DATA_PAGE)
        shown, token = page(found, params.get("NextToken"), size)
        left = {id_ for id_, _, _ in found[found.index(shown[-1]) + 1 :]} if token else set()
        results = []
        for query in wanted:
            own = [(at, value) for id_, at, value in shown if id_ == query["Id"]]
            results.append(
                {
                    "Id": query["Id"],
                    "Label": _label(query),
                    "Timestamps": [datetime.fromtimestamp(at, UTC) for at, _ in own],
                    "Values": [value for _, value in own],
                    "StatusCode": "PartialData" if query["Id"] in left else "Complete",
                }
            )
        return answer(call, {"MetricDataResults": results, "NextToken": token, "Messages": []})

    def list(self, call: Call, forward: Forward) -> Response:
        """ListMetrics."""
        params = call.params
        since = self._clock.time() - (ACTIVE_SECONDS if params.get("RecentlyActive") else LISTED_SECONDS)
        found = [
            {
                "Namespace": namespace,
                "MetricName": name,
                "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
            }
            for namespace, name, dimensions, last in self._metrics.list(call.region)
            if last >= since
            and params.get("Namespace", namespace) == namespace
            and params.get("MetricName", name) == name
            and all(
                one["Name"] in dimensions and one.get("Value", dimensions[one["Name"]]) == dimensions[one["Name"]]
                for one in params.get("Dimensions", [])
            )
        ]
        shown, token = page(found, params.get("NextToken"), METRICS_PAGE)
        return answer(call, {"Metrics": shown, "NextToken": token})

    def _check(self, datum: Mapping[str, Any]) -> None:
        given = [name for name in ("Value", "Values", "StatisticValues") if name in datum]
        if len(given) != 1:
            message = "Each datum of the parameter MetricData must have one of Value, Values and StatisticValues."
            raise AwsError("InvalidParameterCombination", message)
        values = datum.get("Values", [])
        if len(values) > MAX_VALUES or len(datum.get("Counts", values)) != len(values):
            message = f"The parameters Values and Counts must be of the same size, and of {MAX_VALUES} at most."
            raise AwsError("InvalidParameterValue", message)
        if not all(math.isfinite(value) for value in (*values, *_numbers(datum))):
            raise AwsError("InvalidParameterValue", "The values of a metric must be finite numbers.")
        if datum.get("StorageResolution", 60) not in (1, 60):
            raise AwsError("InvalidParameterValue", "The parameter StorageResolution must be 1 or 60.")
        now, at = self._clock.time(), datum["Timestamp"].timestamp() if "Timestamp" in datum else None
        if at is not None and not now - PAST <= at <= now + FUTURE:
            message = "The parameter Timestamp must be within two weeks before and two hours after now."
            raise AwsError("InvalidParameterValue", message)

    def _put(self, region: str, namespace: str, datum: Mapping[str, Any]) -> None:
        where = (region, namespace, datum["MetricName"], dimensions_of(datum.get("Dimensions", [])))
        unit, resolution = datum.get("Unit", "None"), datum.get("StorageResolution", 60)
        at = datum["Timestamp"].timestamp() if "Timestamp" in datum else None
        if given := datum.get("StatisticValues"):
            values = (given["SampleCount"], given["Sum"], given["Minimum"], given["Maximum"])
            self._metrics.put_set(*where, values, unit, at, resolution)
            return
        observed = datum["Values"] if "Values" in datum else [datum["Value"]]
        for value, count in zip(observed, datum.get("Counts") or [1.0] * len(observed), strict=True):
            self._metrics.put(*where, value, unit, at, resolution, count)


def check_queries(queries: Iterable[Mapping[str, Any]], code: str = "ValidationError") -> None:
    """Checks metric queries for what would make them meaningless.

    Raises:
        AwsError: one of them is.
    """
    for query in queries:
        if ("MetricStat" in query) == ("Expression" in query):
            raise AwsError(code, f"The query {query['Id']} needs either MetricStat or Expression.")
        if stat := query.get("MetricStat"):
            check_period(stat["Period"], code)
            if not is_statistic(stat["Stat"]):
                raise _unknown_statistic(stat["Stat"], code)


def check_period(period: int, code: str = "InvalidParameterValue") -> None:
    """Checks the length of a period.

    Raises:
        AwsError: it is none that CloudWatch has.
    """
    if period not in (1, 5, 10, 20, 30) and (period <= 0 or period % 60):
        raise AwsError(code, "Valid values for Period are 1, 5, 10, 20, 30 and any multiple of 60.")


def check_statistics(plain: Iterable[str], extended: Iterable[str], code: str = "InvalidParameterValue") -> None:
    """Checks the names of statistics.

    Raises:
        AwsError: local AWS has no such statistic.
    """
    unknown = [*(one for one in plain if one not in STATISTICS), *(one for one in extended if percent_of(one) is None)]
    if unknown:
        raise _unknown_statistic(unknown[0], code)


def _unknown_statistic(name: str, code: str) -> AwsError:
    return AwsError(code, f"Local AWS has no statistic {name}: only {', '.join(STATISTICS)} and percentiles (p99).")


def _numbers(datum: Mapping[str, Any]) -> Iterator[float]:
    yield datum.get("Value", 0.0)
    yield from datum.get("StatisticValues", {}).values()


def _datapoint(
    at: int, unit: str, statistics: Statistics, plain: Iterable[str], extended: Iterable[str]
) -> dict[str, Any]:
    told: dict[str, Any] = {"Timestamp": datetime.fromtimestamp(at, UTC), "Unit": unit}
    told |= {name: statistics.get(name) for name in plain}
    percentiles = {name: value for name in extended if (value := statistics.get(name)) is not None}
    return told | ({"ExtendedStatistics": percentiles} if percentiles else {})


def _label(query: Mapping[str, Any]) -> str:
    name = query["MetricStat"]["Metric"]["MetricName"] if "MetricStat" in query else query["Id"]
    return str(query.get("Label") or name)
