"""Metrics in the log: CloudWatch reads them out of a line of JSON, without a call and without a permission.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

#: The metrics and their units. Each is billed by name and dimension, so that there are few, and one dimension.
UNITS = {
    "Latency": "Milliseconds",
    "PhotoBytes": "Bytes",
    "Retries": "Count",
    "Throttles": "Count",
    "CallerErrors": "Count",
    "ServerErrors": "Count",
}


def embedded(
    namespace: str, function: str, now: float, status: HTTPStatus, seconds: float, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """What a log line has to say of one call besides, for CloudWatch to make metrics of it.

    Args:
        namespace: Of the metrics; an empty one means none.
        function: The function's name, their dimension.
        now: Seconds since 1970.
        status: What was answered.
        seconds: How long that took.
        facts: The other fields of the line: `bytes` of the photo and `retries`, if there were any.
    """
    if not namespace:
        return {}
    throttled = status is HTTPStatus.TOO_MANY_REQUESTS
    figures = {
        "Latency": round(seconds * 1000, 1),
        "PhotoBytes": facts.get("bytes", 0),
        "Retries": facts.get("retries", 0),
        "Throttles": int(throttled),
        "CallerErrors": int(400 <= status < 500 and not throttled),
        "ServerErrors": int(status >= 500),
    }
    directive = {
        "Namespace": namespace,
        "Dimensions": [["FunctionName"]],
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in UNITS.items()],
    }
    return {
        "_aws": {"Timestamp": int(now * 1000), "CloudWatchMetrics": [directive]},
        "FunctionName": function,
        **figures,
    }
