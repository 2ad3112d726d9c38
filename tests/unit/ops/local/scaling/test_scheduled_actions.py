from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from whippet.local.clock import Clock


def put(scaled: Any, schedule: str | None = None, name: str = "morning", **options: Any) -> None:
    given = options if schedule is None else {"Schedule": schedule, **options}
    scaled.client.put_scheduled_action(**scaled.key, ScheduledActionName=name, **given)


def test_a_scheduled_action_reads_back_as_it_was_put(scaled: Any) -> None:
    put(scaled, "cron(0 8 * * ? *)", Timezone="Europe/Berlin", ScalableTargetAction={"MinCapacity": 3})
    [action] = scaled.actions()
    assert {name: action[name] for name in scaled.key} == scaled.key
    assert (action["Schedule"], action["Timezone"]) == ("cron(0 8 * * ? *)", "Europe/Berlin")
    assert action["ScalableTargetAction"] == {"MinCapacity": 3}
    resource = "resource/sagemaker/endpoint/endpoint/variant/main:scheduledActionName/morning"
    assert action["ScheduledActionARN"].endswith(resource)
    scaled.client.delete_scheduled_action(**scaled.key, ScheduledActionName="morning")
    assert scaled.actions() == []
    with pytest.raises(scaled.client.exceptions.ObjectNotFoundException, match="No scheduled action found"):
        scaled.client.delete_scheduled_action(**scaled.key, ScheduledActionName="morning")


def test_an_update_keeps_what_it_does_not_name_but_for_the_begin_and_the_end(local_aws: Any, scaled: Any) -> None:
    """https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScheduledAction.html."""
    begin = local_aws.gateway.clock.now().replace(microsecond=0) + timedelta(days=1)
    end = begin + timedelta(days=1)
    put(scaled, "rate(1 hour)", ScalableTargetAction={"MinCapacity": 3}, StartTime=begin, EndTime=end)
    [before] = scaled.actions()
    assert (before["StartTime"], before["EndTime"]) == (begin, end)
    put(scaled, ScalableTargetAction={"MaxCapacity": 4})
    [after] = scaled.actions()
    assert (after["Schedule"], after["ScalableTargetAction"]) == ("rate(1 hour)", {"MaxCapacity": 4})
    assert "StartTime" not in after
    assert "EndTime" not in after
    assert (after["ScheduledActionARN"], after["CreationTime"]) == (
        *(before["ScheduledActionARN"], before["CreationTime"]),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ScalableTargetAction": {"MinCapacity": 3}}, "needs a Schedule"),
        ({"Schedule": "rate(1 hour)"}, "needs a Schedule and a ScalableTargetAction"),
        ({"Schedule": "sometimes", "ScalableTargetAction": {"MinCapacity": 3}}, "Invalid schedule"),
        (
            {"Schedule": "cron(0 8 * * ? *)", "Timezone": "Nowhere", "ScalableTargetAction": {"MinCapacity": 3}},
            "Unknown time zone",
        ),
    ],
)
def test_an_action_that_makes_no_sense_is_refused(scaled: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(scaled.client.exceptions.ValidationException, match=message):
        put(scaled, **options)
    assert scaled.actions() == []


def test_an_action_needs_a_target(scaled: Any) -> None:
    scaled.client.deregister_scalable_target(**scaled.key)
    with pytest.raises(scaled.client.exceptions.ObjectNotFoundException, match="No scalable target registered"):
        put(scaled, "rate(1 hour)", ScalableTargetAction={"MinCapacity": 3})


def test_actions_are_found_by_name_and_come_in_pages(scaled: Any) -> None:
    names = ["evening", "morning", "noon"]
    for name in names:
        put(scaled, "rate(1 day)", name, ScalableTargetAction={"MinCapacity": 1})
    pages = scaled.client.get_paginator("describe_scheduled_actions").paginate(
        ServiceNamespace="sagemaker", PaginationConfig={"PageSize": 2}
    )
    found = [[one["ScheduledActionName"] for one in page["ScheduledActions"]] for page in pages]
    assert found == [names[:2], names[2:]]
    one = scaled.client.describe_scheduled_actions(ServiceNamespace="sagemaker", ScheduledActionNames=["noon"])
    assert [action["ScheduledActionName"] for action in one["ScheduledActions"]] == ["noon"]


def test_an_action_raises_the_minimum_and_another_one_lowers_the_maximum(
    local_aws: Any, scaled: Any, fast_clock: Clock
) -> None:
    begin = fast_clock.now() + timedelta(minutes=1)
    put(scaled, f"at({begin:%Y-%m-%dT%H:%M:%S})", ScalableTargetAction={"MinCapacity": 3})
    scaled.wait_for(3)
    assert (scaled.target()["MinCapacity"], scaled.target()["MaxCapacity"]) == (3, 5)
    put(scaled, "rate(2 minutes)", "evening", ScalableTargetAction={"MinCapacity": 1, "MaxCapacity": 2})
    scaled.wait_for(2)
    assert (scaled.target()["MinCapacity"], scaled.target()["MaxCapacity"]) == (1, 2)
    causes = [(one["Description"], one["Cause"], one["StatusCode"]) for one in scaled.activities()[:4]]
    assert causes == [
        (
            "Setting min capacity to 3 and max capacity to 5",
            "scheduled action name morning was triggered",
            "Successful",
        ),
        ("Setting desired instance count to 3.", "minimum capacity was set to 3", "Successful"),
        (
            "Setting min capacity to 1 and max capacity to 2",
            "scheduled action name evening was triggered",
            "Successful",
        ),
        ("Setting desired instance count to 2.", "maximum capacity was set to 2", "Successful"),
    ]
    assert scaled.activities()[0]["StatusMessage"] == "Successfully set min capacity to 3 and max capacity to 5"


def test_a_cron_action_runs_between_its_begin_and_its_end_alone(local_aws: Any, scaled: Any, fast_clock: Clock) -> None:
    fast_clock.speed = 120.0
    now = fast_clock.now()
    begin, end = now + timedelta(minutes=3), now + timedelta(minutes=6)
    put(scaled, "cron(* * * * ? *)", StartTime=begin, EndTime=end, ScalableTargetAction={"MaxCapacity": 6})
    local_aws.eventually(lambda: fast_clock.now() > end + timedelta(minutes=2))
    at = [one["StartTime"] for one in scaled.activities()]
    assert len(at) in (2, 3, 4)
    assert begin <= at[0]
    assert sorted(at) == at


def test_an_action_that_asks_for_bounds_that_cannot_be_has_failed(
    local_aws: Any, scaled: Any, fast_clock: Clock
) -> None:
    put(scaled, "rate(1 minute)", ScalableTargetAction={"MinCapacity": 6})
    [first, *_] = local_aws.eventually(scaled.activities)
    assert first["StatusCode"] == "Failed"
    assert first["StatusMessage"] == (
        "Failed to set min capacity to 6 and max capacity to 5. Reason: Maximum capacity cannot be less than minimum "
        "capacity"
    )
    assert (scaled.target()["MinCapacity"], scaled.instances()) == (1, 1)


def test_nothing_is_scheduled_while_that_is_suspended(local_aws: Any, scaled: Any, fast_clock: Clock) -> None:
    fast_clock.speed = 120.0
    scaled.register(SuspendedState={"ScheduledScalingSuspended": True})
    put(scaled, "rate(1 minute)", ScalableTargetAction={"MinCapacity": 2})
    later = fast_clock.time() + 180
    local_aws.eventually(lambda: fast_clock.time() > later)
    assert (scaled.activities(), scaled.target()["MinCapacity"]) == ([], 1)
    scaled.register(SuspendedState={"ScheduledScalingSuspended": False})
    scaled.wait_for(2)
