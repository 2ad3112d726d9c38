"""What moto does not do of CloudWatch Logs."""

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


def _group(call: Call) -> Any:
    """The record of the log group that a call names, or whose ARN it gives."""
    name = call.params.get("logGroupName") or call.params.get("resourceIdentifier", "").partition(":log-group:")[2]
    group = logs_backends[ACCOUNT][call.region].groups.get(name.removesuffix(":*"))
    if group is None:
        raise AwsError("ResourceNotFoundException", "The specified log group does not exist.")
    return group


HANDLERS: Handlers = {
    ("logs", "AssociateKmsKey"): associate_key,
    ("logs", "DisassociateKmsKey"): disassociate_key,
}
