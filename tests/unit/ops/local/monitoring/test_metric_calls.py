from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

NOW = datetime.now(UTC).replace(second=30, microsecond=0)
SPAN = {"StartTime": NOW - timedelta(minutes=5), "EndTime": NOW}


def put(local_aws: Any, *data: dict[str, Any]) -> None:
    local_aws.client("cloudwatch").put_metric_data(Namespace="Own", MetricData=list(data))


def stat(name: str, statistic: str = "Sum") -> dict[str, Any]:
    return {"Metric": {"Namespace": "Own", "MetricName": name}, "Period": 60, "Stat": statistic}


@pytest.fixture
def sizes(local_aws: Any) -> Any:
    """A client, and a metric with values in three minutes."""
    for minutes, values in ((3, [2.0]), (2, [1.0, 3.0]), (1, [5.0])):
        at = NOW - timedelta(minutes=minutes)
        put(local_aws, {"MetricName": "Size", "Timestamp": at, "Values": values, "Unit": "Bytes"})
    return local_aws.client("cloudwatch")


def test_metrics_are_listed(local_aws: Any, sizes: Any) -> None:
    one = {"Name": "Function", "Value": "f"}
    put(local_aws, {"MetricName": "Errors", "Dimensions": [one], "Value": 1.0})
    listed = sizes.list_metrics(Namespace="Own", MetricName="Size")["Metrics"]
    assert listed == [{"Namespace": "Own", "MetricName": "Size", "Dimensions": []}]
    found = sizes.list_metrics(Dimensions=[{"Name": "Function"}], RecentlyActive="PT3H")["Metrics"]
    assert found == [{"Namespace": "Own", "MetricName": "Errors", "Dimensions": [one]}]


def test_statistics_come_by_period_and_unit(local_aws: Any, sizes: Any) -> None:
    ask = {"Namespace": "Own", "MetricName": "Size", "Statistics": ["Sum", "Maximum"], **SPAN}
    points = sizes.get_metric_statistics(Period=60, **ask)["Datapoints"]
    assert [(one["Sum"], one["Maximum"], one["Unit"]) for one in points] == [
        (2.0, 2.0, "Bytes"),
        (4.0, 3.0, "Bytes"),
        (5.0, 5.0, "Bytes"),
    ]
    assert sizes.get_metric_statistics(Period=60, Unit="Seconds", **ask)["Datapoints"] == []
    put(local_aws, {"MetricName": "Size", "Timestamp": NOW - timedelta(minutes=1), "Value": 9.0, "Unit": "Count"})
    points = sizes.get_metric_statistics(Period=60, **ask)["Datapoints"]
    assert sorted((one["Sum"], one["Unit"]) for one in points[-2:]) == [(5.0, "Bytes"), (9.0, "Count")]


def test_percentiles_need_the_values_themselves(local_aws: Any, sizes: Any) -> None:
    ask = {"Namespace": "Own", "MetricName": "Size", "ExtendedStatistics": ["p99", "p50"], "Period": 3600}
    (point,) = sizes.get_metric_statistics(**ask, StartTime=NOW - timedelta(hours=1), EndTime=NOW)["Datapoints"][-1:]
    assert point["ExtendedStatistics"]["p99"] == 5.0
    values = {"SampleCount": 3, "Sum": 9.0, "Minimum": 1.0, "Maximum": 5.0}
    put(local_aws, {"MetricName": "Summary", "Timestamp": NOW, "StatisticValues": values})
    ask["MetricName"] = "Summary"
    span = {"StartTime": NOW - timedelta(hours=1), "EndTime": NOW + timedelta(minutes=1)}
    assert sizes.get_metric_statistics(**ask, **span)["Datapoints"] == []


def test_metric_math_and_the_order_of_time(sizes: Any) -> None:
    queries = [
        {"Id": "m1", "MetricStat": stat("Size"), "ReturnData": False},
        {"Id": "double", "Expression": "m1 * 2", "Label": "twice"},
        {"Id": "more", "Expression": "double + 1", "ReturnData": False},
        {"Id": "most", "Expression": "MAX([more, m1])"},
    ]
    twice, most = sizes.get_metric_data(MetricDataQueries=queries, **SPAN)["MetricDataResults"]
    assert (twice["Label"], twice["Values"], twice["StatusCode"]) == ("twice", [10.0, 8.0, 4.0], "Complete")
    assert most["Values"] == [11.0, 9.0, 5.0]
    ascending = sizes.get_metric_data(MetricDataQueries=queries, ScanBy="TimestampAscending", **SPAN)
    assert ascending["MetricDataResults"][0]["Values"] == [4.0, 8.0, 10.0]
    assert ascending["MetricDataResults"][0]["Timestamps"][0] == (NOW - timedelta(minutes=3)).replace(second=0)


def test_metric_data_come_in_pages(sizes: Any) -> None:
    queries = [{"Id": "total", "MetricStat": stat("Size")}, {"Id": "most", "MetricStat": stat("Size", "Maximum")}]
    pages = list(
        sizes.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries, MaxDatapoints=2, ScanBy="TimestampAscending", **SPAN
        )
    )
    shown = [{one["Id"]: (one["Values"], one["StatusCode"]) for one in page["MetricDataResults"]} for page in pages]
    assert shown == [
        {"total": ([2.0, 4.0], "PartialData"), "most": ([], "PartialData")},
        {"total": ([5.0], "Complete"), "most": ([2.0], "PartialData")},
        {"total": ([], "Complete"), "most": ([3.0, 5.0], "Complete")},
    ]


@pytest.mark.parametrize(
    ("datum", "message"),
    [
        ({}, "one of Value"),
        ({"Value": 1.0, "Values": [1.0]}, "one of Value"),
        ({"Values": [1.0, 2.0], "Counts": [1.0]}, "same size"),
        ({"Value": float("nan")}, "finite"),
        ({"Value": 1.0, "StorageResolution": 30}, "StorageResolution"),
        ({"Value": 1.0, "Timestamp": NOW - timedelta(days=15)}, "Timestamp"),
    ],
)
def test_values_that_make_no_sense_are_refused(local_aws: Any, datum: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        put(local_aws, {"MetricName": "Size", "Value": 1.0}, {"MetricName": "Size", **datum})
    assert local_aws.client("cloudwatch").list_metrics()["Metrics"] == []


def test_nobody_but_aws_puts_metrics_of_aws(local_aws: Any) -> None:
    with pytest.raises(ClientError, match="reserved for AWS"):
        local_aws.client("cloudwatch").put_metric_data(
            Namespace="AWS/Lambda", MetricData=[{"MetricName": "Errors", "Value": 1.0}]
        )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"Expression": "m9 + 1"}, "Unknown metric"),
        ({"Expression": "SEARCH('{Own} Size', 'Sum', 60)"}, "Unsupported"),
        ({"MetricStat": stat("Size") | {"Stat": "tm99"}}, "no statistic tm99"),
        ({"MetricStat": stat("Size") | {"Period": 45}}, "Period"),
        ({}, "either MetricStat or Expression"),
    ],
)
def test_queries_that_make_no_sense_are_refused(local_aws: Any, query: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message) as refused:
        local_aws.client("cloudwatch").get_metric_data(MetricDataQueries=[{"Id": "e1", **query}], **SPAN)
    assert refused.value.response["Error"]["Code"] == "ValidationError"


def test_the_query_protocol_is_spoken_too(local_aws: Any, sizes: Any) -> None:
    form = (
        "Action=GetMetricStatistics&Version=2010-08-01&Namespace=Own&MetricName=Size&Period=60&Statistics.member.1=Sum"
    )
    form += f"&StartTime={SPAN['StartTime']:%Y-%m-%dT%H:%M:%SZ}&EndTime={SPAN['EndTime']:%Y-%m-%dT%H:%M:%SZ}"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    request = AWSRequest("POST", local_aws.settings.url, data=form, headers=headers)
    SigV4Auth(Credentials("test", "test"), "monitoring", "us-east-1").add_auth(request)
    answered = requests.post(local_aws.settings.url, data=form, headers=dict(request.headers.items()), timeout=10)
    assert answered.status_code == 200, answered.text
    assert "<Sum>4.0</Sum>" in answered.text
