"""What moto does otherwise than AWS KMS."""

from __future__ import annotations

from typing import Any

from moto.kms.models import kms_backends
from werkzeug.wrappers import Response

from whippet.local.calls import Call, answer
from whippet.local.services import Forward, Handlers
from whippet.local.settings import ACCOUNT

#: https://docs.aws.amazon.com/kms/latest/developerguide/rotating-keys-enable.html
DEFAULT_ROTATION_DAYS = 365


def enable_key_rotation(call: Call, forward: Forward) -> Response:
    """EnableKeyRotation drops the period.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_EnableKeyRotation.html
    """
    response = forward(call)
    if response.status_code == 200:
        _key(call).rotation_days = call.params.get("RotationPeriodInDays", DEFAULT_ROTATION_DAYS)
    return response


def get_key_rotation_status(call: Call, forward: Forward) -> Response:
    """GetKeyRotationStatus does not tell the period.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_GetKeyRotationStatus.html
    """
    response = forward(call)
    if response.status_code != 200:
        return response
    key = _key(call)
    if not key.key_rotation_status:
        return answer(call, {"KeyRotationEnabled": False})
    return answer(call, {"KeyRotationEnabled": True, "KeyId": key.id, "RotationPeriodInDays": key.rotation_days})


def _key(call: Call) -> Any:
    backend = kms_backends[ACCOUNT][call.region]
    return backend.keys[backend.get_key_id(call.params["KeyId"])]


HANDLERS: Handlers = {
    ("kms", "EnableKeyRotation"): enable_key_rotation,
    ("kms", "GetKeyRotationStatus"): get_key_rotation_status,
}
