"""The time that a call has left before Lambda would end it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from whippet_lambda.problem import Problem

#: Seconds kept back for writing the answer, so that the caller gets a 504 and not Lambda's own time-out.
RESERVE = 0.5


@dataclass(frozen=True)
class Deadline:
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


def too_slow(waiting_for: str) -> Problem:
    """The answer to a call that ran out of time."""
    return Problem(HTTPStatus.GATEWAY_TIMEOUT, f"{waiting_for} took too long to answer. Try again.")
