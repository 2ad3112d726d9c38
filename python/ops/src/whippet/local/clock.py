"""The clock of local AWS, which may run faster than the wall's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

#: Seconds of the clock in one of the wall. Beyond these a wait is longer than a thread can wait, and a date has a year
#: of five digits, before anybody has stopped local AWS.
SLOWEST, FASTEST = 0.01, 86_400.0


class Clock:
    """Tells the time, and waits.

    What AWS itself waits for follows this clock: alarm periods, cooldowns, bake times, schedules, the pauses between
    two tries of an event, the idle time of an environment. What computes does not, since the processor is no faster:
    time limits of functions, containers and jobs, and the durations that logs and metrics tell. Signatures and
    sessions follow the wall, because the clients' clocks do.

    Args:
        speed: seconds of this clock in one of the wall.
        starts_at: seconds since 1970 that it shows first; the wall's time unless given.
        monotonic: seconds that only ever grow.
    """

    def __init__(
        self, speed: float = 1.0, starts_at: float | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        # In one piece, so that a thread that reads them never sees half of a change.
        self._pace = (monotonic(), time.time() if starts_at is None else starts_at, 1.0)
        self.speed = speed

    @property
    def speed(self) -> float:
        """Seconds of this clock in one of the wall; waits that have begun keep theirs when it is changed."""
        return self._pace[2]

    @speed.setter
    def speed(self, speed: float) -> None:
        if not SLOWEST <= speed <= FASTEST:
            raise ValueError(f"The speed of a clock must be from {SLOWEST} to {FASTEST}.")
        self._pace = (self._monotonic(), self.time(), speed)

    def advance(self, time: float) -> None:
        """Goes on from a time, unless it is past."""
        if time > self.time():
            self._pace = (self._monotonic(), time, self.speed)

    def time(self) -> float:
        """Seconds since 1970."""
        origin, starts_at, speed = self._pace
        return starts_at + (self._monotonic() - origin) * speed

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Waits for an event, `seconds` of this clock at most; whether it has come."""
        return event.wait(max(0.0, seconds) / self.speed)
