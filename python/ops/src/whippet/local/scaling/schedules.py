"""When a scheduled action is due.

https://docs.aws.amazon.com/autoscaling/application/userguide/scheduled-scaling-using-cron-expressions.html
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter

_RATE = re.compile(r"rate\((?P<value>[1-9]\d*) (?P<unit>minute|hour|day)s?\)")
_CRON = re.compile(r"cron\((?P<fields>\S+( \S+){5})\)")
_AT = re.compile(r"at\((?P<moment>[^)]+)\)")


class ScheduleError(ValueError):
    """A schedule is not understood; the text says why."""


def next_due(schedule: str, zone: str, since: datetime, anchor: datetime) -> datetime | None:
    """The first moment after `since` at which a schedule is due, in UTC; None where there is none any more.

    Args:
        schedule: `at(yyyy-mm-ddThh:mm:ss)`, `rate(value unit)` or `cron(minute hour day month weekday year)`.
        zone: the time zone of at and cron, as in Europe/Berlin.
        since: with a time zone.
        anchor: what rates are counted from, with a time zone.

    Raises:
        ScheduleError: the schedule or the zone is not understood.
    """
    try:
        local = UTC if zone == "UTC" else ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ScheduleError(f"Unknown time zone {zone}") from error
    if found := _AT.fullmatch(schedule):
        try:
            due = datetime.strptime(found["moment"], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=local).astimezone(UTC)
        except ValueError as error:
            raise ScheduleError(f"{schedule} is not a moment: at(yyyy-mm-ddThh:mm:ss)") from error
        return due if due > since else None
    if found := _RATE.fullmatch(schedule):
        every = timedelta(**{f"{found['unit']}s": int(found["value"])})
        periods = max(0, (since - anchor) // every) + 1
        return anchor + periods * every
    if found := _CRON.fullmatch(schedule):
        return _next_cron(found["fields"], since.astimezone(local))
    raise ScheduleError(f"{schedule} is none of at(...), rate(...) and cron(...) with six fields")


def _next_cron(fields: str, since: datetime) -> datetime | None:
    minute, hour, day, month, weekday, year = fields.split(" ")
    if (day == "?") == (weekday == "?"):
        raise ScheduleError("One of day and weekday must be ?, and the other must not")
    # croniter counts weekdays from 0, Sunday, writes the last Friday L5 instead of 6L, and has seconds before the year.
    weekday = re.sub(r"(?<![#\d])[1-7](?!\d)", lambda digit: str(int(digit[0]) - 1), weekday)
    weekday = re.sub(r"(\d)L", r"L\1", weekday)
    expression = " ".join((minute, hour, day, month, weekday, "0", year)).replace("?", "*")
    try:
        due: datetime = croniter(expression, since).get_next(datetime)
    except CroniterError as error:
        # It says so too where there is no such moment any more.
        if year != "*" and croniter.is_valid(expression):
            return None
        raise ScheduleError(f"cron({fields}) is not a schedule") from error
    return due.astimezone(UTC)
