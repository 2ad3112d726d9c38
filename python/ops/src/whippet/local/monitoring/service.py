"""CloudWatch's operations on metrics and alarms; dashboards and the rest are moto's.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/Welcome.html
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.clock import Clock
from whippet.local.monitoring.alarms import Alarm, Alarms, alarms_of, computed, note_history
from whippet.local.monitoring.evaluation import COMPARISONS, Verdict
from whippet.local.monitoring.expressions import ExpressionError, holds
from whippet.local.monitoring.metrics import Metrics, is_statistic
from whippet.local.services import Forward, Handlers
from whippet.local.state import State

#: Points that one answer of GetMetricStatistics may have.
MAX_POINTS = 1440
#: Metrics of one page of ListMetrics, alarms of one of DescribeAlarms, items of one of DescribeAlarmHistory.
METRICS_PAGE, ALARMS_PAGE, HISTORY_PAGE = 500, 100, 100
#: ListMetrics tells of metrics that had data in the last two weeks.
LISTED_SECONDS = 14 * 24 * 3600
#: Parameters that PutMetricAlarm and PutCompositeAlarm do not store with the alarm.
NOT_STORED = ("AlarmName", "Tags")


class Monitoring:
    """Metrics and alarms as callers see them.

    Args:
        clock: when values are put and alarms change.
        metrics: what is put and asked for.
        alarms: evaluates them.
        state: told of what changes outside of a call.
    """

    def __init__(self, clock: Clock, metrics: Metrics, alarms: Alarms, state: State) -> None:
        self._clock = clock
        self._metrics = metrics
        self._alarms = alarms
        self._state = state

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        operations = {
            "DeleteAlarms": self.delete_alarms,
            "DescribeAlarmHistory": self.describe_alarm_history,
            "DescribeAlarms": self.describe_alarms,
            "DescribeAlarmsForMetric": self.describe_alarms_for_metric,
            "DisableAlarmActions": self.disable_alarm_actions,
            "EnableAlarmActions": self.enable_alarm_actions,
            "GetMetricData": self.get_metric_data,
            "GetMetricStatistics": self.get_metric_statistics,
            "ListMetrics": self.list_metrics,
            "ListTagsForResource": self.list_tags,
            "PutCompositeAlarm": self.put_composite_alarm,
            "PutMetricAlarm": self.put_metric_alarm,
            "PutMetricData": self.put_metric_data,
            "SetAlarmState": self.set_alarm_state,
            "TagResource": self.tag,
            "UntagResource": self.untag,
        }
        return {("cloudwatch", name): handler for name, handler in operations.items()}

    def resume(self) -> None:
        """Evaluates the alarms on record."""
        self._alarms.start()

    def stop(self) -> None:
        """Evaluates no more, and forgets the metrics."""
        self._alarms.stop()
        self._metrics.reset()

    def put_metric_data(self, call: Call, forward: Forward) -> Response:
        """PutMetricData."""
        namespace = call.params["Namespace"]
        if namespace.startswith("AWS/"):
            message = "The value AWS/ for parameter Namespace is invalid: it is reserved for AWS."
            raise AwsError("InvalidParameterValue", message)
        for datum in call.params.get("MetricData", []):
            self._put(call.region, namespace, datum)
        return answer(call)

    def _put(self, region: str, namespace: str, datum: Mapping[str, Any]) -> None:
        dimensions = {one["Name"]: one["Value"] for one in datum.get("Dimensions", [])}
        at = datum["Timestamp"].timestamp() if "Timestamp" in datum else None
        unit, resolution = datum.get("Unit", "None"), int(datum.get("StorageResolution", 60))
        where = (region, namespace, datum["MetricName"], dimensions)
        if given := datum.get("StatisticValues"):
            values = (given["SampleCount"], given["Sum"], given["Minimum"], given["Maximum"])
            self._metrics.put_set(*where, values, unit, at, resolution)
            return
        values = datum.get("Values", [datum["Value"]] if "Value" in datum else [])
        counts = datum.get("Counts") or [1.0] * len(values)
        if not values or len(counts) != len(values):
            message = "A metric datum needs a Value, a StatisticValues or Values with as many Counts."
            raise AwsError("InvalidParameterCombination", message)
        for value, count in zip(values, counts, strict=True):
            self._metrics.put(*where, value, unit, at, resolution, count)

    def get_metric_statistics(self, call: Call, forward: Forward) -> Response:
        """GetMetricStatistics."""
        params = call.params
        start, end, period = params["StartTime"].timestamp(), params["EndTime"].timestamp(), params["Period"]
        if start >= end:
            message = "The parameter StartTime must be less than the parameter EndTime."
            raise AwsError("InvalidParameterValue", message)
        _check_period(period)
        if (end - start) / period > MAX_POINTS:
            message = f"You have requested up to {int((end - start) / period):,} datapoints, which exceeds the limit"
            raise AwsError("InvalidParameterCombination", f"{message} of {MAX_POINTS:,}.")
        names = [*params.get("Statistics", []), *params.get("ExtendedStatistics", [])]
        _check_statistics(names)
        dimensions = {one["Name"]: one["Value"] for one in params.get("Dimensions", [])}
        found = self._metrics.query(
            call.region,
            params["Namespace"],
            params["MetricName"],
            dimensions,
            start // period * period,
            end,
            period,
            params.get("Unit"),
        )
        points = [
            {
                "Timestamp": datetime.fromtimestamp(at, UTC),
                "Unit": params.get("Unit", "None"),
                **{name: statistics.get(name) for name in params.get("Statistics", [])},
                "ExtendedStatistics": {name: statistics.get(name) for name in params.get("ExtendedStatistics", [])},
            }
            for at, statistics in found.items()
        ]
        for point in points:
            if not point["ExtendedStatistics"]:
                del point["ExtendedStatistics"]
        return answer(call, {"Label": params["MetricName"], "Datapoints": points})

    def get_metric_data(self, call: Call, forward: Forward) -> Response:
        """GetMetricData; all in one page."""
        params = call.params
        queries = params["MetricDataQueries"]
        _check_queries(queries)
        start, end = params["StartTime"].timestamp(), params["EndTime"].timestamp()
        is_ascending = params.get("ScanBy") == "TimestampAscending"
        results = []
        for query in queries:
            if not query.get("ReturnData", True):
                continue
            try:
                points = computed(self._metrics, call.region, queries, start, end, query["Id"])
            except ExpressionError as error:
                raise AwsError("ValidationError", f"Error in expression '{query['Id']}': {error}") from error
            instants = sorted(points, reverse=not is_ascending)
            label = query.get("Label") or query.get("MetricStat", {}).get("Metric", {}).get("MetricName", query["Id"])
            results.append(
                {
                    "Id": query["Id"],
                    "Label": label,
                    "Timestamps": [datetime.fromtimestamp(at, UTC) for at in instants],
                    "Values": [points[at] for at in instants],
                    "StatusCode": "Complete",
                }
            )
        return answer(call, {"MetricDataResults": results, "Messages": []})

    def list_metrics(self, call: Call, forward: Forward) -> Response:
        """ListMetrics."""
        params = call.params
        wanted = params.get("Dimensions", [])
        since = self._clock.time() - (3 * 3600 if params.get("RecentlyActive") else LISTED_SECONDS)
        metrics = [
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
                for one in wanted
            )
        ]
        page, token = _page(metrics, params.get("NextToken"), METRICS_PAGE)
        return answer(call, {"Metrics": page, "NextToken": token})

    def put_metric_alarm(self, call: Call, forward: Forward) -> Response:
        """PutMetricAlarm: an alarm that is there already keeps its state."""
        params = call.params
        if params["ComparisonOperator"] not in COMPARISONS:
            message = f"Local AWS has no anomaly detection, which {params['ComparisonOperator']} needs."
            raise AwsError("ValidationError", message)
        if "Metrics" in params:
            _check_queries(params["Metrics"])
            if sum(query.get("ReturnData", True) for query in params["Metrics"]) != 1:
                raise AwsError("ValidationError", "Exactly one of the metrics must return data.")
        else:
            _check_metric_alarm(params)
        if params.get("DatapointsToAlarm", 1) > params["EvaluationPeriods"]:
            raise AwsError("ValidationError", "DatapointsToAlarm must not be greater than EvaluationPeriods.")
        self._store(call, is_composite=False)
        return answer(call)

    def put_composite_alarm(self, call: Call, forward: Forward) -> Response:
        """PutCompositeAlarm."""
        try:
            holds(call.params["AlarmRule"], lambda name: None)
        except ExpressionError as error:
            raise AwsError("ValidationError", str(error)) from error
        self._store(call, is_composite=True)
        self._alarms.check_composite(call.region)
        return answer(call)

    def _store(self, call: Call, *, is_composite: bool) -> None:
        params, now = call.params, self._clock.time()
        name = params["AlarmName"]
        parameters = {key: value for key, value in params.items() if key not in NOT_STORED}
        alarms = alarms_of(call.region)
        alarm = alarms.get(name)
        if alarm is None or alarm.is_composite != is_composite:
            alarm = alarms[name] = Alarm(call.region, name, is_composite, {}, _tags(params), now)
            alarm.state_updated = alarm.state_changed = now
            summary = f'Alarm "{name}" created'
        else:
            summary = f'Alarm "{name}" updated'
        alarm.parameters, alarm.updated = parameters, now
        note_history(alarm, now, "ConfigurationUpdate", summary, {"version": "1.0", "type": summary.split()[-1]})

    def describe_alarms(self, call: Call, forward: Forward) -> Response:
        """DescribeAlarms; metric alarms only, unless AlarmTypes asks for composite ones too."""
        params = call.params
        names, types = params.get("AlarmNames"), params.get("AlarmTypes") or ["MetricAlarm"]
        found = [
            alarm
            for _, alarm in sorted(alarms_of(call.region).items())
            if (names is None or alarm.name in names)
            and alarm.name.startswith(params.get("AlarmNamePrefix", ""))
            and params.get("StateValue", alarm.state) == alarm.state
            and ("CompositeAlarm" if alarm.is_composite else "MetricAlarm") in types
            and _has_action(alarm, params.get("ActionPrefix", ""))
        ]
        page, token = _page(found, params.get("NextToken"), params.get("MaxRecords", ALARMS_PAGE))
        result = {
            "MetricAlarms": [_described(alarm) for alarm in page if not alarm.is_composite],
            "CompositeAlarms": [_described(alarm) for alarm in page if alarm.is_composite],
            "NextToken": token,
        }
        return answer(call, result)

    def describe_alarms_for_metric(self, call: Call, forward: Forward) -> Response:
        """DescribeAlarmsForMetric."""
        params = call.params
        dimensions = _pairs(params.get("Dimensions", []))
        found = [
            _described(alarm)
            for alarm in list(alarms_of(call.region).values())
            if alarm.parameters.get("Namespace") == params["Namespace"]
            and alarm.parameters.get("MetricName") == params["MetricName"]
            and _pairs(alarm.parameters.get("Dimensions", [])) == dimensions
            and all(
                params.get(name, alarm.parameters.get(name)) == alarm.parameters.get(name)
                for name in ("Statistic", "ExtendedStatistic", "Period", "Unit")
            )
        ]
        return answer(call, {"MetricAlarms": found})

    def describe_alarm_history(self, call: Call, forward: Forward) -> Response:
        """DescribeAlarmHistory."""
        params = call.params
        start = params["StartDate"] if "StartDate" in params else datetime.fromtimestamp(0, UTC)
        end = params.get("EndDate", datetime.max.replace(tzinfo=UTC))
        items = [
            item
            for alarm in list(alarms_of(call.region).values())
            if params.get("AlarmName", alarm.name) == alarm.name
            for item in list(alarm.history)
            if params.get("HistoryItemType", item["HistoryItemType"]) == item["HistoryItemType"]
            and _aware(start) <= item["Timestamp"] <= _aware(end)
        ]
        items.sort(key=lambda item: item["Timestamp"], reverse=params.get("ScanBy") != "TimestampAscending")
        page, token = _page(items, params.get("NextToken"), params.get("MaxRecords", HISTORY_PAGE))
        return answer(call, {"AlarmHistoryItems": page, "NextToken": token})

    def set_alarm_state(self, call: Call, forward: Forward) -> Response:
        """SetAlarmState: until the next evaluation says otherwise."""
        alarm = alarms_of(call.region).get(call.params["AlarmName"])
        if alarm is None:
            raise AwsError("ResourceNotFound", "Unknown alarm")
        data = call.params.get("StateReasonData")
        if data is not None:
            try:
                json.loads(data)
            except ValueError as error:
                raise AwsError("InvalidFormat", "StateReasonData is not JSON") from error
        self._alarms.set_state(alarm, Verdict(call.params["StateValue"], call.params["StateReason"], data or "{}"))
        return answer(call)

    def delete_alarms(self, call: Call, forward: Forward) -> Response:
        """DeleteAlarms; names that no alarm has are ignored."""
        for name in call.params["AlarmNames"]:
            alarms_of(call.region).pop(name, None)
        return answer(call)

    def enable_alarm_actions(self, call: Call, forward: Forward) -> Response:
        """EnableAlarmActions."""
        return self._set_actions(call, enabled=True)

    def disable_alarm_actions(self, call: Call, forward: Forward) -> Response:
        """DisableAlarmActions."""
        return self._set_actions(call, enabled=False)

    def _set_actions(self, call: Call, *, enabled: bool) -> Response:
        for name in call.params["AlarmNames"]:
            if alarm := alarms_of(call.region).get(name):
                alarm.parameters["ActionsEnabled"] = enabled
        return answer(call)

    def list_tags(self, call: Call, forward: Forward) -> Response:
        """ListTagsForResource, of alarms; other resources are moto's."""
        alarm = _tagged(call)
        if alarm is None:
            return forward(call)
        return answer(call, {"Tags": [{"Key": key, "Value": value} for key, value in sorted(alarm.tags.items())]})

    def tag(self, call: Call, forward: Forward) -> Response:
        """TagResource."""
        alarm = _tagged(call)
        if alarm is None:
            return forward(call)
        alarm.tags.update(_tags(call.params))
        return answer(call)

    def untag(self, call: Call, forward: Forward) -> Response:
        """UntagResource."""
        alarm = _tagged(call)
        if alarm is None:
            return forward(call)
        for key in call.params["TagKeys"]:
            alarm.tags.pop(key, None)
        return answer(call)


def _described(alarm: Alarm) -> dict[str, Any]:
    """An alarm as DescribeAlarms tells of it."""
    described = {
        "AlarmName": alarm.name,
        "AlarmArn": alarm.arn,
        "AlarmConfigurationUpdatedTimestamp": datetime.fromtimestamp(alarm.updated, UTC),
        "ActionsEnabled": True,
        "OKActions": [],
        "AlarmActions": [],
        "InsufficientDataActions": [],
        "StateValue": alarm.state,
        "StateReason": alarm.reason,
        "StateReasonData": alarm.reason_data,
        "StateUpdatedTimestamp": datetime.fromtimestamp(alarm.state_updated, UTC),
        "StateTransitionedTimestamp": datetime.fromtimestamp(alarm.state_changed, UTC),
        **({} if alarm.is_composite or "Metrics" in alarm.parameters else {"Dimensions": []}),
        **alarm.parameters,
    }
    return {name: value for name, value in described.items() if value is not None}


def _has_action(alarm: Alarm, prefix: str) -> bool:
    actions = (alarm.parameters.get(name, []) for name in ("AlarmActions", "OKActions", "InsufficientDataActions"))
    return not prefix or any(action.startswith(prefix) for listed in actions for action in listed)


def _check_metric_alarm(params: Mapping[str, Any]) -> None:
    if "MetricName" not in params or "Namespace" not in params or "Period" not in params:
        raise AwsError("ValidationError", "An alarm needs MetricName, Namespace and Period, or Metrics.")
    if ("Statistic" in params) == ("ExtendedStatistic" in params):
        raise AwsError("ValidationError", "An alarm needs either Statistic or ExtendedStatistic.")
    _check_period(params["Period"])
    _check_statistics([params.get("Statistic") or params["ExtendedStatistic"]])


def _check_queries(queries: Iterable[Mapping[str, Any]]) -> None:
    for query in queries:
        if ("MetricStat" in query) == ("Expression" in query):
            raise AwsError("ValidationError", f"The query {query['Id']} needs either MetricStat or Expression.")
        if stat := query.get("MetricStat"):
            _check_period(stat["Period"])
            _check_statistics([stat["Stat"]])


def _check_period(period: int) -> None:
    if period not in (1, 5, 10, 20, 30) and (period <= 0 or period % 60):
        message = "Valid values for Period are 1, 5, 10, 20, 30 and any multiple of 60."
        raise AwsError("InvalidParameterValue", message)


def _check_statistics(names: Iterable[str]) -> None:
    for name in names:
        if not is_statistic(name):
            message = f"Local AWS has no statistic {name}: only Average, Sum, Minimum, Maximum, SampleCount and pNN."
            raise AwsError("InvalidParameterValue", message)


def _tagged(call: Call) -> Alarm | None:
    arn = call.params["ResourceARN"]
    return alarms_of(call.region).get(arn.partition(":alarm:")[2])


def _tags(params: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in params.get("Tags", [])}


def _pairs(dimensions: Iterable[Mapping[str, str]]) -> set[tuple[str, str]]:
    return {(one["Name"], one["Value"]) for one in dimensions}


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _page(items: list[Any], token: str | None, size: int) -> tuple[list[Any], str | None]:
    """One page of a list, and the token of the next."""
    try:
        start = int(base64.b64decode(token)) if token else 0
    except ValueError as error:
        raise AwsError("InvalidNextToken", "The next token is invalid.") from error
    end = start + size
    return items[start:end], base64.b64encode(str(end).encode()).decode() if end < len(items) else None
