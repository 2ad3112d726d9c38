"""The alarms of CloudWatch.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/AlarmThatSendsEmail.html
"""

from __future__ import annotations

from moto.cloudwatch.models import cloudwatch_backends

from whippet.local.settings import ACCOUNT


def alarm_state(region: str, name: str) -> str | None:
    """OK, ALARM or INSUFFICIENT_DATA; None where there is no such alarm."""
    alarm = cloudwatch_backends[ACCOUNT][region].alarms.get(name)
    return None if alarm is None else str(alarm.state_value)
