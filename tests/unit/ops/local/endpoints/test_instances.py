from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import psutil
import pytest

from whippet.local.endpoints.instances import Fleet, FleetRetiredError, InstanceError, Variant

CONTAINER = Path(__file__).parents[1] / "container.py"


def variant(folder: Path, model: str, name: str = "main", weight: float = 1.0, timeout: float = 20.0) -> Variant:
    path = folder / f"{name}.model"
    path.write_text(model)
    return Variant(
        name=name,
        weight=weight,
        count=1,
        command=(sys.executable, "-S", str(CONTAINER), str(path)),
        environment={},
        health_check_timeout=timeout,
        role_arn="arn:aws:iam::123456789012:role/none",
        region="us-east-1",
        log_group="group",
    )


@pytest.fixture
def fleets() -> Iterator[list[Fleet]]:
    """The fleets that a test starts, to be stopped."""
    started: list[Fleet] = []
    yield started
    for fleet in started:
        fleet.retire(drain=0, grace=0)


def start(fleets: list[Fleet], folder: Path, *variants: Variant) -> Fleet:
    fleet = Fleet(variants, folder, invocation_timeout=20.0, random=Random(0))
    fleets.append(fleet)
    fleet.start()
    return fleet


def test_a_container_that_never_becomes_healthy_is_given_up(fleets: list[Fleet], tmp_path: Path) -> None:
    with pytest.raises(InstanceError, match=r"did not pass the ping health check\. No answer in 1 s"):
        start(fleets, tmp_path, variant(tmp_path, "never healthy", timeout=0.6))


def test_variants_share_the_calls_by_weight(fleets: list[Fleet], tmp_path: Path) -> None:
    variants = [variant(tmp_path, "good", "a", 3.0), variant(tmp_path, "good", "b", 1.0)]
    fleet = start(fleets, tmp_path, *variants, variant(tmp_path, "good", "c", 0.0))
    drawn = []
    for _ in range(400):
        acquired = fleet.acquire(None)
        assert acquired is not None
        drawn.append(acquired[0])
        fleet.release(acquired[1])
    assert 260 < drawn.count("a") < 340
    assert drawn.count("c") == 0
    named = fleet.acquire("c")
    assert named is not None
    fleet.release(named[1])


def test_a_retired_fleet_takes_no_more_and_lets_what_it_has_finish(fleets: list[Fleet], tmp_path: Path) -> None:
    fleet = start(fleets, tmp_path, variant(tmp_path, "good"))
    acquired = fleet.acquire(None)
    assert acquired is not None
    _, instance = acquired
    answers: list[int] = []

    def call() -> None:
        answers.append(instance.invoke(b"sleep 0.8", {}).status)
        fleet.release(instance)

    caller = threading.Thread(target=call)
    caller.start()
    fleet.retire(drain=20.0, grace=5.0)
    caller.join()
    assert answers == [200]
    assert not psutil.pid_exists(instance.process.pid)
    with pytest.raises(FleetRetiredError):
        fleet.acquire(None)
