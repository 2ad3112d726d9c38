from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(("asked", "days"), [({}, 365), ({"RotationPeriodInDays": 180}, 180)])
def test_a_key_tells_how_often_it_is_rotated(local_aws: Any, asked: dict[str, int], days: int) -> None:
    kms = local_aws.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.enable_key_rotation(KeyId=key, **asked)
    status = kms.get_key_rotation_status(KeyId=key)
    assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, days)
    kms.disable_key_rotation(KeyId=key)
    status = kms.get_key_rotation_status(KeyId=key)
    assert status["KeyRotationEnabled"] is False
    assert "RotationPeriodInDays" not in status
