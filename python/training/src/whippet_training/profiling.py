"""Where a training's time goes: phases measured in every thread, and a Chrome trace of some steps."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

import torch

PhaseName = Literal["decode", "transform", "forward", "backward", "optimiser", "io"]

_OFF: AbstractContextManager[None] = nullcontext()
_current: Profile | None = None


def phase(name: PhaseName) -> AbstractContextManager[None]:
    """Marks what a thread does inside as one phase of the training; nearly free while no profile is taken.

    A phase inside another interrupts it: a moment of a thread counts for one phase only.
    """
    return _OFF if _current is None else _Marked(_current, name)


@dataclass
class PhaseTime:
    """Time spent in a phase.

    Attributes:
        name: Of the phase.
        calls: How often it was entered.
        seconds: On the clock, while at least one thread was in it.
        thread_seconds: Summed over the threads that were in it.
    """

    name: str
    calls: int = 0
    seconds: float = 0.0
    thread_seconds: float = 0.0


class Profile:
    """Times of phases; ``phase`` reports here while ``recording`` lasts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, PhaseTime] = {}
        self._inside: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._own = threading.local()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Takes the profile of what happens inside, in all threads; only one at a time in a process."""
        global _current
        _current = self
        try:
            yield
        finally:
            _current = None

    def phases(self) -> list[PhaseTime]:
        """The phases so far, in the order of their first appearance."""
        with self._lock:
            return list(self._times.values())

    def enter(self, name: str) -> None:
        """A thread begins a phase."""
        stack = self._stack()
        now = time.perf_counter()
        with self._lock:
            if stack:
                self._leave(*stack[-1], now)
            self._enter(name, now)
            self._times[name].calls += 1
        stack.append((name, now))

    def leave(self) -> None:
        """The thread ends the phase that it began last."""
        stack = self._stack()
        now = time.perf_counter()
        with self._lock:
            self._leave(*stack.pop(), now)
            if stack:
                outer, _ = stack[-1]
                self._enter(outer, now)
                stack[-1] = outer, now

    def _stack(self) -> list[tuple[str, float]]:
        if not hasattr(self._own, "stack"):
            self._own.stack = []
        stack: list[tuple[str, float]] = self._own.stack
        return stack

    def _enter(self, name: str, now: float) -> None:
        self._times.setdefault(name, PhaseTime(name))
        self._inside[name] = self._inside.get(name, 0) + 1
        if self._inside[name] == 1:
            self._since[name] = now

    def _leave(self, name: str, since: float, now: float) -> None:
        self._times[name].thread_seconds += now - since
        self._inside[name] -= 1
        if not self._inside[name]:
            self._times[name].seconds += now - self._since[name]


class _Marked:
    """A phase of one thread, for the profile and for torch.profiler, which shows it above its own events."""

    def __init__(self, profile: Profile, name: str) -> None:
        self._profile, self._name = profile, name
        self._shown = torch.profiler.record_function(f"whippet.{name}")

    def __enter__(self) -> None:
        self._shown.__enter__()
        self._profile.enter(self._name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._profile.leave()
        self._shown.__exit__(kind, error, trace)
