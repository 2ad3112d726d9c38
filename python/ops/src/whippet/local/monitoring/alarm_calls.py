"""CloudWatch's operations on alarms.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/Welcome.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.clock import Clock
from whippet.local.constraints import constrained
from whippet.local.monitoring.alarms import Alarm, alarms_of, put_alarm
from whippet.local.monitoring.evaluation import COMPARISONS, Verdict
from whippet.local.monitoring.evaluator import ACTIONS, Evaluator
from whippet.local.monitoring.expressions import ExpressionError, alarms_in, name_of
from whippet.local.monitoring.metric_calls import check_queries, check_statistics
from whippet.local.monitoring.paging import page
from whippet.local.services import Forward, Handlers

#: Alarms of one page of DescribeAlarms, items of one of DescribeAlarmHistory.
ALARMS_PAGE, HISTORY_PAGE = 100, 100
#: Seconds that an alarm may look at: a day, and a week where its period is an hour or more.
#: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
DAY, WEEK, HOUR = 86_400, 604_800, 3600
#: Parameters of PutMetricAlarm and PutCompositeAlarm that are not stored as the alarm's configuration.
NOT_STORED = ("AlarmName", "Tags")
#: Parameters that say which metric an alarm watches.
METRIC_MEMBERS = ("MetricName", "Namespace", "Dimensions", "Period", "Unit", "Statistic", "ExtendedStatistic")
#: What some parameters may be.
ALLOWED = {
    "TreatMissingData": ("breaching", "notBreaching", "ignore", "missing"),
    "EvaluateLowSampleCountPercentile": ("evaluate", "ignore"),
}


class AlarmCalls:
    """Alarms as callers see them.

    Args:
        clock: when alarms change.
        evaluator: keeps their states true.
    """

    def __init__(self, clock: Clock, evaluator: Evaluator) -> None:
        self._clock = clock
        self._evaluator = evaluator

    def handlers(self) -> Handlers:
        """The operations that are answered here."""
        operations = {
            "DeleteAlarms": self.delete,
            "DescribeAlarmHistory": self.describe_history,
            "DescribeAlarms": self.describe,
            "DescribeAlarmsForMetric": self.describe_for_metric,
            "DisableAlarmActions": self.disable_actions,
            "EnableAlarmActions": self.enable_actions,
            "ListTagsForResource": self.list_tags,
            "PutCompositeAlarm": self.put_composite,
            "PutMetricAlarm": self.put_metric,
            "SetAlarmState": self.set_state,
            "TagResource": self.tag,
            "UntagResource": self.untag,
        }
        handlers = {("cloudwatch", name): handler for name, handler in operations.items()}
        return constrained(handlers, "ValidationError")

    def put_metric(self, call: Call, forward: Forward) -> Response:
        """PutMetricAlarm: an alarm that is there already keeps its state."""
        _check_metric_alarm(call.params)
        self._store(call, is_composite=False)
        return answer(call)

    def put_composite(self, call: Call, forward: Forward) -> Response:
        """PutCompositeAlarm; the suppression of actions is recorded only."""
        try:
            children = alarms_in(call.params["AlarmRule"])
        except ExpressionError as error:
            raise AwsError("ValidationError", str(error)) from error
        if missing := sorted(children - set(alarms_of(call.region))):
            message = (
                f"Could not save the composite alarm as alarms [{', '.join(missing)}] in the alarm rule do not exist"
            )
            raise AwsError("ValidationError", message)
        alarm, is_new = self._store(call, is_composite=True)
        self._evaluator.check_composite(alarm, f"{'created and its' if is_new else 'updated and its new'} alarm rule")
        return answer(call)

    def describe(self, call: Call, forward: Forward) -> Response:
        """DescribeAlarms; metric alarms only, unless AlarmTypes asks for composite ones too."""
        params = call.params
        types = params.get("AlarmTypes") or ["MetricAlarm"]
        found = [
            alarm
            for _, alarm in sorted(alarms_of(call.region).items())
            if ("AlarmNames" not in params or alarm.name in params["AlarmNames"])
            and alarm.name.startswith(params.get("AlarmNamePrefix", ""))
            and params.get("StateValue", alarm.state) == alarm.state
            and alarm.kind in types
            and _has_action(alarm, params.get("ActionPrefix", ""))
            and _is_related(alarm, params)
        ]
        shown, token = page(found, params.get("NextToken"), params.get("MaxRecords", ALARMS_PAGE))
        result = {
            "MetricAlarms": [_described(alarm) for alarm in shown if not alarm.is_composite],
            "CompositeAlarms": [_described(alarm) for alarm in shown if alarm.is_composite],
            "NextToken": token,
        }
        return answer(call, result)

    def describe_for_metric(self, call: Call, forward: Forward) -> Response:
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

    def describe_history(self, call: Call, forward: Forward) -> Response:
        """DescribeAlarmHistory; of metric alarms only, unless AlarmTypes asks for composite ones too."""
        params = call.params
        types = params.get("AlarmTypes") or ["MetricAlarm"]
        items = [
            item
            for alarm in list(alarms_of(call.region).values())
            if params.get("AlarmName", alarm.name) == alarm.name and alarm.kind in types
            for item in list(alarm.history)
            if params.get("HistoryItemType", item["HistoryItemType"]) == item["HistoryItemType"]
            and params.get("StartDate", item["Timestamp"]) <= item["Timestamp"]
            and params.get("EndDate", item["Timestamp"]) >= item["Timestamp"]
        ]
        items.sort(key=lambda item: item["Timestamp"], reverse=params.get("ScanBy") != "TimestampAscending")
        shown, token = page(items, params.get("NextToken"), params.get("MaxRecords", HISTORY_PAGE))
        return answer(call, {"AlarmHistoryItems": shown, "NextToken": token})

    def set_state(self, call: Call, forward: Forward) -> Response:
        """SetAlarmState: until the next evaluation says otherwise."""
        alarm = alarms_of(call.region).get(call.params["AlarmName"])
        if alarm is None:
            raise AwsError("ResourceNotFound", "Alarm does not exist.")
        state, data = call.params["StateValue"], call.params.get("StateReasonData")
        if data is not None:
            try:
                json.loads(data)
            except ValueError:
                raise AwsError("InvalidFormat", "StateReasonData is not JSON.") from None
        self._evaluator.set_state(alarm, Verdict(state, call.params["StateReason"], data))
        return answer(call)

    def delete(self, call: Call, forward: Forward) -> Response:
        """DeleteAlarms; names that no alarm has are ignored."""
        for name in call.params["AlarmNames"]:
            alarms_of(call.region).pop(name, None)
        return answer(call)

    def enable_actions(self, call: Call, forward: Forward) -> Response:
        """EnableAlarmActions."""
        return self._set_actions(call, enabled=True)

    def disable_actions(self, call: Call, forward: Forward) -> Response:
        """DisableAlarmActions."""
        return self._set_actions(call, enabled=False)

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

    def _store(self, call: Call, *, is_composite: bool) -> tuple[Alarm, bool]:
        """Records an alarm; it, and whether it is new."""
        params = call.params
        parameters = {key: value for key, value in params.items() if key not in NOT_STORED}
        alarm, is_new = put_alarm(
            call.region, params["AlarmName"], parameters, self._clock.time(), is_composite=is_composite
        )
        if is_new:
            alarm.tags = _tags(params)
        return alarm, is_new

    def _set_actions(self, call: Call, *, enabled: bool) -> Response:
        for name in call.params["AlarmNames"]:
            if alarm := alarms_of(call.region).get(name):
                alarm.parameters["ActionsEnabled"] = enabled
        return answer(call)


def _check_metric_alarm(params: Mapping[str, Any]) -> None:
    comparison = params["ComparisonOperator"]
    if comparison not in COMPARISONS or "ThresholdMetricId" in params:
        raise AwsError("ValidationError", "Local AWS has no anomaly detection, and no comparison with its band.")
    if "Threshold" not in params:
        raise AwsError("ValidationError", "Threshold must be specified for a static threshold alarm.")
    for name, allowed in ALLOWED.items():
        if params.get(name, allowed[0]) not in allowed:
            raise AwsError("ValidationError", f"{name} must be one of {', '.join(allowed)}.")
    if params.get("DatapointsToAlarm", 1) > params["EvaluationPeriods"]:
        raise AwsError("ValidationError", "DatapointsToAlarm must be less than or equal to EvaluationPeriods")
    if "Metrics" in params:
        if given := [name for name in METRIC_MEMBERS if name in params]:
            raise AwsError("ValidationError", f"{given[0]} must not be specified together with Metrics.")
        check_queries(params["Metrics"])
        if sum(query.get("ReturnData", True) for query in params["Metrics"]) != 1:
            raise AwsError("ValidationError", "Exactly one element of the metrics list should return data.")
        return
    if missing := [name for name in ("MetricName", "Namespace", "Period") if name not in params]:
        raise AwsError("ValidationError", f"{missing[0]} must be specified, or Metrics.")
    if ("Statistic" in params) == ("ExtendedStatistic" in params):
        raise AwsError("ValidationError", "Exactly one of Statistic and ExtendedStatistic must be specified.")
    plain, extended = ([params[name]] if name in params else [] for name in ("Statistic", "ExtendedStatistic"))
    check_statistics(plain, extended, "ValidationError")
    _check_span(params["Period"], params["EvaluationPeriods"])


def _check_span(period: int, periods: int) -> None:
    if period not in (10, 20, 30) and (period <= 0 or period % 60):
        raise AwsError("ValidationError", "Period must be 10, 20, 30 or a multiple of 60")
    longest, name = (WEEK, "week") if period >= HOUR else (DAY, "day")
    if period * periods > longest:
        message = f"Metrics cannot be checked across more than a {name}"
        raise AwsError("ValidationError", f"{message} (EvaluationPeriods * Period must be <= {longest}).")


def _described(alarm: Alarm) -> dict[str, Any]:
    """An alarm as DescribeAlarms tells of it."""
    return {
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


def _has_action(alarm: Alarm, prefix: str) -> bool:
    named = (action for member in ACTIONS.values() for action in alarm.parameters.get(member, []))
    return not prefix or any(action.startswith(prefix) for action in named)


def _is_related(alarm: Alarm, params: Mapping[str, Any]) -> bool:
    """Whether an alarm is a child or a parent of the composite alarm or the alarm that is asked for, if one is."""
    if parent := alarms_of(alarm.region).get(name_of(params.get("ChildrenOfAlarmName", ""))):
        return parent.is_composite and alarm.name in alarms_in(parent.parameters["AlarmRule"])
    if child := params.get("ParentsOfAlarmName"):
        return alarm.is_composite and name_of(child) in alarms_in(alarm.parameters["AlarmRule"])
    return "ChildrenOfAlarmName" not in params


def _tagged(call: Call) -> Alarm | None:
    return alarms_of(call.region).get(name_of(call.params["ResourceARN"]))


def _tags(params: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in params.get("Tags", [])}


def _pairs(dimensions: Iterable[Mapping[str, str]]) -> set[tuple[str, str]]:
    return {(one["Name"], one["Value"]) for one in dimensions}
