from __future__ import annotations

from typing import Any

import pytest

GROUP_ARN = "arn:aws:logs:us-east-1:123456789012:log-group:group"


@pytest.mark.parametrize("named", [{"logGroupName": "group"}, {"resourceIdentifier": GROUP_ARN}])
def test_a_log_group_can_be_given_a_key_and_lose_it(local_aws: Any, named: dict[str, str]) -> None:
    logs, key = local_aws.client("logs"), "arn:aws:kms:us-east-1:123456789012:key/1"
    logs.create_log_group(logGroupName="group")
    logs.associate_kms_key(kmsKeyId=key, **named)
    assert logs.describe_log_groups()["logGroups"][0]["kmsKeyId"] == key
    logs.disassociate_kms_key(**named)
    assert "kmsKeyId" not in logs.describe_log_groups()["logGroups"][0]


def test_a_log_group_that_is_none_gets_neither_key_nor_filter(local_aws: Any) -> None:
    logs = local_aws.client("logs")
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.associate_kms_key(logGroupName="group", kmsKeyId="arn:aws:kms:us-east-1:123456789012:key/1")
    metric = {"metricName": "Errors", "metricNamespace": "Dogs", "metricValue": "1"}
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.put_metric_filter(
            logGroupName="group", filterName="errors", filterPattern="ERROR", metricTransformations=[metric]
        )


def test_a_metric_filter_is_changed_and_goes_with_its_log_group(local_aws: Any) -> None:
    logs = local_aws.client("logs")
    metric = {"metricName": "Errors", "metricNamespace": "Dogs", "metricValue": "1"}
    for group in ("group", "other"):
        logs.create_log_group(logGroupName=group)
        for pattern in ("ERROR", "CRITICAL"):
            logs.put_metric_filter(
                logGroupName=group, filterName="errors", filterPattern=pattern, metricTransformations=[metric]
            )
    logs.delete_log_group(logGroupName="other")
    [found] = logs.describe_metric_filters()["metricFilters"]
    assert (found["logGroupName"], found["filterPattern"]) == ("group", "CRITICAL")
