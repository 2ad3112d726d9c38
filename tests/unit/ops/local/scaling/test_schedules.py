from __future__ import annotations

from datetime import UTC, datetime

import pytest

from whippet.local.scaling.schedules import ScheduleError, next_due

#: A Monday.
SINCE = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)


def moment(month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "due"),
    [
        ("cron(0 10 * * ? *)", moment(11, 23, 10)),
        ("cron(15 9 ? * MON-FRI *)", moment(11, 23, 9, 15)),
        ("cron(0 9 ? * 3 *)", moment(11, 24, 9)),
        ("cron(0 9 ? * 1 *)", moment(11, 29, 9)),
        ("cron(0 9 ? * 6L *)", moment(11, 27, 9)),
        ("cron(0 9 ? * 2#1 *)", moment(12, 7, 9)),
        ("cron(0 9 L * ? *)", moment(11, 30, 9)),
        ("cron(0/20 * * * ? *)", moment(11, 23, 1, 20)),
        ("rate(5 minutes)", moment(11, 23, 1, 5)),
        ("rate(1 day)", moment(11, 24, 1)),
        ("at(2026-11-24T08:30:00)", moment(11, 24, 8, 30)),
        ("at(2026-11-22T08:30:00)", None),
        ("cron(0 9 ? * MON 2020)", None),
    ],
)
def test_a_schedule_is_due(schedule: str, due: datetime | None) -> None:
    assert next_due(schedule, "UTC", SINCE, SINCE) == due


def test_cron_and_at_follow_their_time_zone_and_its_summer_time() -> None:
    assert next_due("cron(0 10 * * ? *)", "Europe/Berlin", SINCE, SINCE) == moment(11, 23, 9)
    summer = datetime(2026, 7, 1, tzinfo=UTC)
    assert next_due("cron(0 10 * * ? *)", "Europe/Berlin", summer, summer) == moment(7, 1, 8)
    assert next_due("at(2026-12-01T00:00:00)", "Europe/Berlin", SINCE, SINCE) == moment(11, 30, 23)


def test_a_rate_counts_from_its_anchor() -> None:
    assert next_due("rate(2 hours)", "UTC", moment(11, 23, 4, 59), SINCE) == moment(11, 23, 5)
    assert next_due("rate(2 hours)", "UTC", moment(11, 23, 5), SINCE) == moment(11, 23, 7)


@pytest.mark.parametrize(
    "schedule",
    ["", "every day", "cron(0 10 * * *)", "cron(0 10 * * * *)", "cron(61 10 * * ? *)", "rate(0 minutes)", "at(soon)"],
)
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ScheduleError):
        next_due(schedule, "UTC", SINCE, SINCE)


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(ScheduleError, match="time zone"):
        next_due("cron(0 10 * * ? *)", "Nowhere/Land", SINCE, SINCE)
