from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from botocore.exceptions import ClientError

from whippet.local.clock import Clock
from whippet.local.monitoring.alarms import alarms_of

ALARM = {
    "AlarmName": "errors",
    "Namespace": "Own",
    "MetricName": "Errors",
    "Dimensions": [{"Name": "Function", "Value": "f"}],
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 0.0,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "notBreaching",
}


def put(local_aws: Any, value: float, name: str = "Errors", **more: Any) -> None:
    given = {"MetricName": name, "Dimensions": ALARM["Dimensions"], "Value": value, **more}
    datum = {name: value for name, value in given.items() if value is not None}
    local_aws.client("cloudwatch").put_metric_data(Namespace="Own", MetricData=[datum])


def alarm(local_aws: Any, name: str = "errors") -> dict[str, Any]:
    described: dict[str, Any] = local_aws.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"][0]
    return described


def test_an_alarm_follows_its_metric_there_and_back(local_aws: Any, fast_clock: Clock) -> None:
    cloudwatch = local_aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(**ALARM)
    assert alarm(local_aws)["StateValue"] == "INSUFFICIENT_DATA"
    local_aws.eventually(lambda: alarm(local_aws)["StateValue"] == "OK")
    put(local_aws, 3.0)
    raised = local_aws.eventually(lambda: (found := alarm(local_aws))["StateValue"] == "ALARM" and found)
    assert raised["StateReason"].startswith("Threshold Crossed: 1 out of the last 1 datapoints [3.0 (")
    assert raised["StateReason"].endswith(
        "was greater than the threshold (0.0) (minimum 1 datapoint for OK -> ALARM transition)."
    )
    local_aws.eventually(lambda: alarm(local_aws)["StateValue"] == "OK")
    history = cloudwatch.describe_alarm_history(AlarmName="errors", HistoryItemType="StateUpdate")["AlarmHistoryItems"]
    assert [item["HistorySummary"] for item in reversed(history)] == [
        "Alarm updated from INSUFFICIENT_DATA to OK",
        "Alarm updated from OK to ALARM",
        "Alarm updated from ALARM to OK",
    ]


def test_an_alarm_tells_its_topic(local_aws: Any, fast_clock: Clock) -> None:
    sns, sqs = local_aws.client("sns"), local_aws.client("sqs")
    topic = sns.create_topic(Name="alarms")["TopicArn"]
    queue = sqs.create_queue(QueueName="alarms")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    local_aws.client("cloudwatch").put_metric_alarm(**ALARM, AlarmActions=[topic])
    put(local_aws, 1.0)

    def message() -> Any:
        return sqs.receive_message(QueueUrl=queue).get("Messages")

    envelope = json.loads(local_aws.eventually(message)[0]["Body"])
    told = json.loads(envelope["Message"])
    assert envelope["Subject"] == 'ALARM: "errors" in US East (N. Virginia)'
    assert (told["AlarmName"], told["NewStateValue"], told["OldStateValue"]) == ("errors", "ALARM", "INSUFFICIENT_DATA")
    assert told["NewStateReason"].startswith("Threshold Crossed: 1 out of the last 1 datapoints [1.0 (")
    assert told["Trigger"] == {
        "MetricName": "Errors",
        "Namespace": "Own",
        "StatisticType": "Statistic",
        "Statistic": "SUM",
        "Unit": None,
        "Dimensions": [{"value": "f", "name": "Function"}],
        "Period": 60,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": 0.0,
        "TreatMissingData": "notBreaching",
        "EvaluateLowSampleCountPercentile": "",
    }
    local_aws.eventually(lambda: actions(local_aws) == [f"Successfully executed action {topic}"])


def actions(local_aws: Any) -> list[str]:
    """What the history says of the actions of the alarm."""
    history = local_aws.client("cloudwatch").describe_alarm_history(AlarmName="errors", HistoryItemType="Action")
    return [item["HistorySummary"] for item in history["AlarmHistoryItems"]]


def test_a_subscriber_that_never_answers_holds_up_no_alarm(local_aws: Any, fast_clock: Clock) -> None:
    cloudwatch, sns = local_aws.client("cloudwatch"), local_aws.client("sns")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        topic = sns.create_topic(Name="alarms")["TopicArn"]
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=url)
        cloudwatch.put_metric_alarm(**ALARM, AlarmActions=[topic])
        cloudwatch.put_metric_alarm(**ALARM | {"AlarmName": "other"})
        cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="a test")
        local_aws.eventually(lambda: alarm(local_aws, "other")["StateValue"] == "OK")
        assert actions(local_aws) == []


def test_an_action_on_a_topic_that_is_not_there_has_failed(local_aws: Any) -> None:
    topic = "arn:aws:sns:us-east-1:123456789012:nothing"
    local_aws.client("cloudwatch").put_metric_alarm(**ALARM, AlarmActions=[topic])
    local_aws.client("cloudwatch").set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="a test")
    local_aws.eventually(lambda: actions(local_aws) == [f"Failed to execute action {topic}"])


def test_an_alarm_that_cannot_be_evaluated_holds_up_no_other(local_aws: Any, fast_clock: Clock) -> None:
    cloudwatch = local_aws.client("cloudwatch")
    for name in ("before", "errors"):
        cloudwatch.put_metric_alarm(**ALARM | {"AlarmName": name})
    alarms_of("us-east-1")["before"].parameters["EvaluationPeriods"] = "none"
    local_aws.eventually(lambda: alarm(local_aws)["StateValue"] == "OK")


def test_an_alarm_on_an_expression(local_aws: Any, fast_clock: Clock) -> None:
    def stat(name: str) -> dict[str, Any]:
        metric = {"Namespace": "Own", "MetricName": name, "Dimensions": ALARM["Dimensions"]}
        return {"Metric": metric, "Period": 60, "Stat": "Sum"}

    local_aws.client("cloudwatch").put_metric_alarm(
        AlarmName="rate",
        Metrics=[
            {"Id": "bad", "MetricStat": stat("Errors"), "ReturnData": False},
            {"Id": "all", "MetricStat": stat("Calls"), "ReturnData": False},
            {"Id": "rate", "Expression": "bad / all", "ReturnData": True},
        ],
        EvaluationPeriods=1,
        Threshold=0.5,
        ComparisonOperator="GreaterThanThreshold",
    )
    put(local_aws, 9.0)
    put(local_aws, 10.0, "Calls")
    local_aws.eventually(lambda: alarm(local_aws, "rate")["StateValue"] == "ALARM")


def composite(local_aws: Any, name: str = "both") -> dict[str, Any]:
    described = local_aws.client("cloudwatch").describe_alarms(AlarmNames=[name], AlarmTypes=["CompositeAlarm"])
    found: dict[str, Any] = described["CompositeAlarms"][0]
    return found


def test_a_composite_alarm_follows_the_alarms_in_its_rule(local_aws: Any) -> None:
    cloudwatch = local_aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(**ALARM)
    cloudwatch.put_composite_alarm(AlarmName="both", AlarmRule='ALARM("errors") AND TRUE', AlarmDescription="why")
    made = composite(local_aws)
    assert (made["StateValue"], made["AlarmRule"]) == ("OK", 'ALARM("errors") AND TRUE')
    assert made["StateReason"] == f"{made['AlarmArn']} was created and its alarm rule evaluates to OK"
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="a test")
    raised = composite(local_aws)
    child = alarm(local_aws)["AlarmArn"]
    assert raised["StateValue"] == "ALARM"
    assert raised["StateReason"].startswith(f"{child} transitioned to ALARM at ")
    assert json.loads(raised["StateReasonData"])["triggeringAlarms"][0]["arn"] == child
    children = cloudwatch.describe_alarms(ChildrenOfAlarmName="both")["MetricAlarms"]
    assert [one["AlarmName"] for one in children] == ["errors"]
    parents = cloudwatch.describe_alarms(ParentsOfAlarmName="errors", AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
    assert [one["AlarmName"] for one in parents] == ["both"]
    history = cloudwatch.describe_alarm_history(AlarmName="both", AlarmTypes=["CompositeAlarm"])["AlarmHistoryItems"]
    assert history[0]["HistorySummary"] == "Alarm updated from OK to ALARM"


def test_composite_alarms_that_are_about_each_other_come_to_rest(local_aws: Any) -> None:
    cloudwatch = local_aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(**ALARM)
    cloudwatch.put_composite_alarm(AlarmName="one", AlarmRule="ALARM(errors)")
    cloudwatch.put_composite_alarm(AlarmName="two", AlarmRule="ALARM(one)")
    cloudwatch.put_composite_alarm(AlarmName="one", AlarmRule="ALARM(errors) AND NOT ALARM(two)")
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="a test")
    assert composite(local_aws, "two")["StateValue"] == "ALARM"


@pytest.mark.parametrize("rule", ["errors are many", "ALARM(never-was)"])
def test_a_composite_alarm_that_makes_no_sense_is_refused(local_aws: Any, rule: str) -> None:
    with pytest.raises(ClientError, match=r"AlarmRule|never-was\] in the alarm rule do not exist"):
        local_aws.client("cloudwatch").put_composite_alarm(AlarmName="bad", AlarmRule=rule)


def test_a_state_that_is_set_by_hand_tells_why(local_aws: Any) -> None:
    cloudwatch = local_aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(**ALARM)
    before = alarm(local_aws)
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="one", StateReasonData='{"a": 1}')
    first = alarm(local_aws)
    assert (first["StateValue"], first["StateReason"], first["StateReasonData"]) == ("ALARM", "one", '{"a": 1}')
    assert first["StateTransitionedTimestamp"] > before["StateTransitionedTimestamp"]
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="two")
    second = alarm(local_aws)
    assert (second["StateReason"], "StateReasonData" in second) == ("two", False)
    assert second["StateUpdatedTimestamp"] > first["StateUpdatedTimestamp"]
    assert second["StateTransitionedTimestamp"] == first["StateTransitionedTimestamp"]
    with pytest.raises(cloudwatch.exceptions.ResourceNotFound):
        cloudwatch.set_alarm_state(AlarmName="never was", StateValue="OK", StateReason="none")
    with pytest.raises(ClientError, match="not JSON"):
        cloudwatch.set_alarm_state(AlarmName="errors", StateValue="OK", StateReason="none", StateReasonData="{")


def test_a_percentile_of_few_samples_can_be_ignored(local_aws: Any, fast_clock: Clock) -> None:
    cloudwatch = local_aws.client("cloudwatch")
    percentile = {name: value for name, value in ALARM.items() if name != "Statistic"} | {"ExtendedStatistic": "p90"}
    cloudwatch.put_metric_alarm(**percentile | {"EvaluateLowSampleCountPercentile": "ignore"})
    cloudwatch.put_metric_alarm(
        **percentile | {"AlarmName": "evaluated", "EvaluateLowSampleCountPercentile": "evaluate"}
    )
    put(local_aws, 1.0)
    local_aws.eventually(lambda: alarm(local_aws, "evaluated")["StateValue"] == "ALARM")
    assert alarm(local_aws)["StateValue"] == "INSUFFICIENT_DATA"

    def is_raised() -> bool:
        put(local_aws, 1.0, Value=None, Values=[1.0], Counts=[200.0])
        return bool(alarm(local_aws)["StateValue"] == "ALARM")

    local_aws.eventually(is_raised)


def test_a_high_resolution_alarm_sees_every_ten_seconds(local_aws: Any, fast_clock: Clock) -> None:
    local_aws.client("cloudwatch").put_metric_alarm(**ALARM | {"Period": 10, "EvaluationPeriods": 2})

    def is_raised() -> bool:
        put(local_aws, 1.0, StorageResolution=1)
        return bool(alarm(local_aws)["StateValue"] == "ALARM")

    local_aws.eventually(is_raised)
    assert "2 out of the last 2 datapoints" in alarm(local_aws)["StateReason"]


def test_alarms_survive_a_restart(local_aws: Any, fast_clock: Clock) -> None:
    cloudwatch = local_aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(**ALARM)
    cloudwatch.put_composite_alarm(AlarmName="both", AlarmRule="ALARM(errors)")
    local_aws.eventually(lambda: alarm(local_aws)["StateValue"] == "OK")
    local_aws.gateway.stop()
    local_aws.gateway._begin()
    assert alarm(local_aws)["StateValue"] == "OK"
    put(local_aws, 1.0)
    local_aws.eventually(lambda: composite(local_aws)["StateValue"] == "ALARM")


def test_an_alarm_reads_back_as_it_was_written(local_aws: Any) -> None:
    cloudwatch = local_aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(**ALARM, AlarmDescription="why", Tags=[{"Key": "team", "Value": "a"}])
    described = alarm(local_aws)
    assert {name: described[name] for name in ALARM} == ALARM
    assert (described["ActionsEnabled"], described["AlarmDescription"]) == (True, "why")
    arn = described["AlarmArn"]
    assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    cloudwatch.tag_resource(ResourceARN=arn, Tags=[{"Key": "stage", "Value": "dev"}])
    cloudwatch.untag_resource(ResourceARN=arn, TagKeys=["team"])
    assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "stage", "Value": "dev"}]
    cloudwatch.disable_alarm_actions(AlarmNames=["errors"])
    assert alarm(local_aws)["ActionsEnabled"] is False
    cloudwatch.enable_alarm_actions(AlarmNames=["errors"])
    found = cloudwatch.describe_alarms_for_metric(
        Namespace="Own", MetricName="Errors", Dimensions=ALARM["Dimensions"], Statistic="Sum"
    )["MetricAlarms"]
    assert [(one["AlarmName"], one["ActionsEnabled"]) for one in found] == [("errors", True)]
    cloudwatch.delete_alarms(AlarmNames=["errors", "never was"])
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []


def test_alarms_come_in_pages(local_aws: Any) -> None:
    cloudwatch = local_aws.client("cloudwatch")
    for index in range(5):
        cloudwatch.put_metric_alarm(**ALARM | {"AlarmName": f"alarm-{index}"})
    pages = cloudwatch.get_paginator("describe_alarms").paginate(PaginationConfig={"PageSize": 2})
    assert [len(page["MetricAlarms"]) for page in pages] == [2, 2, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"Statistic": None, "ExtendedStatistic": "p101"},
        {"Period": 45},
        {"DatapointsToAlarm": 2},
        {"ComparisonOperator": "GreaterThanUpperThreshold"},
        {"EvaluationPeriods": 1441},
        {"Metrics": [{"Id": "m1", "Expression": "1"}]},
        {"TreatMissingData": "perhaps"},
        {"Threshold": None},
        {"Statistic": None},
    ],
)
def test_an_alarm_that_makes_no_sense_is_refused(local_aws: Any, change: dict[str, Any]) -> None:
    parameters = {name: value for name, value in (ALARM | change).items() if value is not None}
    with pytest.raises(ClientError):
        local_aws.client("cloudwatch").put_metric_alarm(**parameters)
