"""What moto does otherwise than CloudWatch Logs, or not at all."""

from __future__ import annotations

from typing import Any

from moto.logs.models import logs_backends
from werkzeug.wrappers import Response

from whippet.local.calls import AwsError, Call, answer
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT


def associate_key(call: Call, forward: Forward) -> Response:
    """AssociateKmsKey is not implemented; the key is kept, and nothing is encrypted.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_AssociateKmsKey.html
    """
    _group(call).kms_key_id = call.params["kmsKeyId"]
    return answer(call)


def disassociate_key(call: Call, forward: Forward) -> Response:
    """DisassociateKmsKey is not implemented.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DisassociateKmsKey.html
    """
    _group(call).kms_key_id = None
    return answer(call)


def put_metric_filter(call: Call, forward: Forward) -> Response:
    """PutMetricFilter adds a filter where it should change the one of that name, also to no log group at all.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutMetricFilter.html
    """
    _group(call)
    response = forward(call)
    if response.status_code == 200:
        group, name = call.params["logGroupName"], call.params["filterName"]
        for older in _filters(call, group, name)[:-1]:
            _backend(call).filters.metric_filters.remove(older)
    return response


def delete_log_group(call: Call, forward: Forward) -> Response:
    """DeleteLogGroup leaves the metric filters.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DeleteLogGroup.html
    """
    response = forward(call)
    if response.status_code == 200:
        for left in _filters(call, call.params["logGroupName"]):
            _backend(call).filters.metric_filters.remove(left)
    return response


def _filters(call: Call, group: str, name: str | None = None) -> list[dict[str, Any]]:
    """The metric filters of a log group, the oldest first; those of one name, where one is given."""
    filters: list[dict[str, Any]] = _backend(call).filters.metric_filters
    return [one for one in filters if one["logGroupName"] == group and name in (None, one["filterName"])]


def _backend(call: Call) -> Any:
    return logs_backends[ACCOUNT][call.region]


def _group(call: Call) -> Any:
    """The record of the log group that a call names, or whose ARN it gives."""
    name = call.params.get("logGroupName") or call.params.get("resourceIdentifier", "").partition(":log-group:")[2]
    group = _backend(call).groups.get(name.removesuffix(":*"))
    if group is None:
        raise AwsError("ResourceNotFoundException", "The specified log group does not exist.")
    return group


HANDLERS: Handlers = {
    ("logs", "AssociateKmsKey"): associate_key,
    ("logs", "DeleteLogGroup"): delete_log_group,
    ("logs", "DisassociateKmsKey"): disassociate_key,
    ("logs", "PutMetricFilter"): put_metric_filter,
}
