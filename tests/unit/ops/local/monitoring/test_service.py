from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from whippet.local.clock import Clock

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
    datum = {"MetricName": name, "Dimensions": ALARM["Dimensions"], "Value": value, **more}
    local_aws.client("cloudwatch").put_metric_data(Namespace="Own", MetricData=[datum])


def alarm(local_aws: Any, name: str = "errors") -> dict[str, Any]:
    described: dict[str, Any] = local_aws.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"][0]
    return described


def test_metrics_that_are_put_can_be_listed_and_asked_for(local_aws: Any) -> None:
    cloudwatch = local_aws.client("cloudwatch")
    now = datetime.now(UTC).replace(second=30, microsecond=0)
    for minutes, values in ((2, [1.0, 3.0]), (1, [5.0])):
        datum = {"MetricName": "Size", "Timestamp": now - timedelta(minutes=minutes), "Values": values, "Unit": "Bytes"}
        cloudwatch.put_metric_data(Namespace="Own", MetricData=[datum])
    put(local_aws, 1.0)
    listed = cloudwatch.list_metrics(Namespace="Own", MetricName="Size")["Metrics"]
    assert listed == [{"Namespace": "Own", "MetricName": "Size", "Dimensions": []}]
    found = cloudwatch.list_metrics(Dimensions=[{"Name": "Function"}])["Metrics"]
    assert [one["MetricName"] for one in found] == ["Errors"]

    span = {"StartTime": now - timedelta(minutes=5), "EndTime": now}
    points = cloudwatch.get_metric_statistics(
        Namespace="Own", MetricName="Size", Period=60, Statistics=["Sum", "Maximum"], Unit="Bytes", **span
    )["Datapoints"]
    assert [(point["Sum"], point["Maximum"], point["Unit"]) for point in points] == [
        (4.0, 3.0, "Bytes"),
        (5.0, 5.0, "Bytes"),
    ]
    percentiles = cloudwatch.get_metric_statistics(
        Namespace="Own", MetricName="Size", Period=300, ExtendedStatistics=["p99"], **span
    )["Datapoints"]
    assert percentiles[-1]["ExtendedStatistics"] == {"p99": 5.0}
    metric = {"Namespace": "Own", "MetricName": "Size"}
    queries = [
        {"Id": "m1", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}, "ReturnData": False},
        {"Id": "double", "Expression": "m1 * 2", "Label": "twice"},
    ]
    (result,) = cloudwatch.get_metric_data(MetricDataQueries=queries, **span)["MetricDataResults"]
    assert (result["Label"], result["Values"]) == ("twice", [10.0, 8.0])


def test_metrics_that_make_no_sense_are_refused(local_aws: Any) -> None:
    cloudwatch = local_aws.client("cloudwatch")
    with pytest.raises(ClientError, match="reserved for AWS"):
        cloudwatch.put_metric_data(Namespace="AWS/Lambda", MetricData=[{"MetricName": "Errors", "Value": 1.0}])
    now = datetime.now(UTC)
    with pytest.raises(ClientError, match="Period"):
        cloudwatch.get_metric_statistics(
            Namespace="Own", MetricName="Size", Period=45, Statistics=["Sum"], StartTime=now - timedelta(1), EndTime=now
        )
    with pytest.raises(ClientError, match="Unknown metric"):
        cloudwatch.get_metric_data(
            MetricDataQueries=[{"Id": "e1", "Expression": "m9 + 1"}], StartTime=now - timedelta(1), EndTime=now
        )


def test_an_alarm_follows_its_metric_there_and_back(local_aws: Any, fast_clock: Clock) -> None:
    cloudwatch = local_aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(**ALARM)
    assert alarm(local_aws)["StateValue"] == "INSUFFICIENT_DATA"
    local_aws.eventually(lambda: alarm(local_aws)["StateValue"] == "OK")
    put(local_aws, 3.0)
    raised = local_aws.eventually(lambda: (found := alarm(local_aws))["StateValue"] == "ALARM" and found)
    assert raised["StateReason"].startswith("Threshold Crossed: 1 out of the last 1 datapoint [3.0 (")
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

    told = json.loads(json.loads(local_aws.eventually(message)[0]["Body"])["Message"])
    assert (told["AlarmName"], told["NewStateValue"], told["Trigger"]["MetricName"]) == ("errors", "ALARM", "Errors")


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


def test_a_composite_alarm_follows_the_alarms_in_its_rule(local_aws: Any) -> None:
    cloudwatch = local_aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(**ALARM)
    cloudwatch.put_composite_alarm(AlarmName="both", AlarmRule='ALARM("errors") AND TRUE')

    def state() -> str:
        described = cloudwatch.describe_alarms(AlarmNames=["both"], AlarmTypes=["CompositeAlarm"])
        return str(described["CompositeAlarms"][0]["StateValue"])

    assert state() == "OK"
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="a test")
    assert state() == "ALARM"
    with pytest.raises(ClientError, match="AlarmRule"):
        cloudwatch.put_composite_alarm(AlarmName="bad", AlarmRule="errors are many")


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
    ],
)
def test_an_alarm_that_makes_no_sense_is_refused(local_aws: Any, change: dict[str, Any]) -> None:
    parameters = {name: value for name, value in (ALARM | change).items() if value is not None}
    with pytest.raises(ClientError):
        local_aws.client("cloudwatch").put_metric_alarm(**parameters)
