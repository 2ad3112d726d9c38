"""The time that a call has left before Lambda would end it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

from whippet_lambda.problem import Problem

T = TypeVar("T")

#: Seconds kept back for writing the answer, so that the caller gets a 504 and not Lambda's own time-out.
RESERVE = 0.5

#: Threads that do the calls' work: one, as an environment answers one call at a time, and more while work that was
#: given up comes to its end. A kept thread costs a call half of what a new one does.
_THREADS = ThreadPoolExecutor(16, "call")


class Deadline(NamedTuple):
    """A point in time on a monotonic clock.

    Attributes:
        at: When it falls, in the clock's seconds.
        clock: The clock.
    """

    at: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def from_context(cls, context: Any, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """The deadline of one invocation: Lambda's, less the reserve."""
        return cls(clock() + context.get_remaining_time_in_millis() / 1000 - RESERVE, clock)

    def within(self, seconds: float) -> Deadline:
        """The earlier of this deadline and one in so many seconds."""
        return Deadline(min(self.at, self.clock() + seconds), self.clock)

    def remaining(self, waiting_for: str) -> float:
        """Seconds left.

        Raises:
            Problem: 504 if none are.
        """
        seconds = self.at - self.clock()
        if seconds <= 0:
            raise too_slow(waiting_for)
        return seconds

    def bound(self, work: Callable[[], T], waiting_for: str) -> T:
        """Does work in another thread, and stops waiting for it when the deadline falls.

        Time limits of sockets count from one packet to the next, and finding a name's address has none: only a second
        thread can promise that the caller hears of a 504 before Lambda ends the environment. Work that is given up
        ends by its own limits, and holds up the next call's where both compute.

        Raises:
            Problem: 504 if the work takes longer.
            Exception: What the work raises.
        """
        done = _THREADS.submit(work)
        try:
            return done.result(max(0.0, self.at - self.clock()))
        except TimeoutError:
            if done.done():  # at the last moment, or with a TimeoutError of its own
                return done.result()
            done.cancel()
            raise too_slow(waiting_for) from None


def too_slow(waiting_for: str, cause: str = "") -> Problem:
    """The answer to a call that ran out of time."""
    return Problem(HTTPStatus.GATEWAY_TIMEOUT, f"{waiting_for} took too long. Try again.", cause=cause)
