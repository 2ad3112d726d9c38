from __future__ import annotations

import threading
import time

import pytest

from whippet.local.clock import Clock


class Seconds:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_clock_runs_as_many_times_faster_as_it_is_told() -> None:
    wall = Seconds()
    clock = Clock(60, starts_at=1000.0, monotonic=wall)
    wall.now = 2.0
    assert clock.time() == 1120.0
    assert clock.now().timestamp() == 1120.0


def test_a_change_of_speed_moves_no_hand() -> None:
    wall = Seconds()
    clock = Clock(60, starts_at=0.0, monotonic=wall)
    wall.now = 1.0
    clock.speed = 1.0
    assert clock.time() == 60.0
    wall.now = 2.0
    assert clock.time() == 61.0


def test_a_wait_is_shorter_on_a_faster_clock_and_ends_with_its_event() -> None:
    clock, event = Clock(3600), threading.Event()
    started = time.monotonic()
    assert not clock.wait(event, 36.0)
    assert time.monotonic() - started >= 0.01
    event.set()
    assert clock.wait(event, 1e9)


@pytest.mark.parametrize("speed", [0, -1, 1e-300, 1e300, float("inf"), float("nan")])
def test_a_clock_cannot_stand_still_or_run_out_of_time(speed: float) -> None:
    with pytest.raises(ValueError, match=r"from 0\.01 to 86400"):
        Clock(speed)
