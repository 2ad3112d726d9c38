"""Where a training's time goes: phases measured in every thread, and a Chrome trace of some steps."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import torch

from whippet_training.observe import Epoch, Step

PhaseName = Literal["decode", "transform", "compile", "forward", "backward", "optimiser", "io"]

TRACE = "trace.json.gz"
"""Opens in https://ui.perfetto.dev and chrome://tracing."""

_SKIPPED_STEPS, _WARM_UP_STEPS, _TRACED_STEPS = 1, 2, 5
"""Steps of the first training that torch.profiler passes over, runs idle in, and records."""

_MOST_SPANS = 20_000
"""Phases that the trace shows, the first ones: about 2 MB before compression."""

_PHASES_PID = 1
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


@dataclass(frozen=True)
class _Span:
    name: str
    thread: int
    start: float
    end: float


@dataclass
class _Entered:
    name: str
    start: float
    since: float


class Profile:
    """Times of phases, and a trace of the first training's steps; ``phase`` reports here while it is ``recording``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, PhaseTime] = {}
        self._inside: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._own = threading.local()
        self._spans: list[_Span] = []
        self._threads: dict[int, str] = {}
        self._tracer: Any = None
        self._traced: dict[str, Any] | None = None
        self._epoch_offset = time.time() - time.perf_counter()
        self._start = self._end = 0.0

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Takes the profile of what happens inside, in all threads; only one at a time in a process."""
        global _current
        _current = self
        self._start = time.perf_counter()
        try:
            yield
        finally:
            _current = None
            self._end = time.perf_counter()

    def phases(self) -> list[PhaseTime]:
        """The phases so far, in the order of their first appearance."""
        with self._lock:
            return [one for one in self._times.values() if one.name]

    def report(self) -> dict[str, Any]:
        """What metrics.json holds of it: seconds in all, seconds outside every phase, threads, and the phases."""
        seconds = (self._end or time.perf_counter()) - self._start
        with self._lock:
            # Under the empty name stands the time in which any thread was in any phase.
            busy = self._times[""].seconds if "" in self._times else 0.0
        return {
            "seconds": round(seconds, 3),
            "other_seconds": round(max(0.0, seconds - busy), 3),
            "threads": len(self._threads),
            "phases": [
                {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(one).items()}
                for one in self.phases()
            ],
        }

    def enter(self, name: str) -> None:
        """A thread begins a phase."""
        stack = self._stack()
        now = time.perf_counter()
        with self._lock:
            self._leave(stack[-1].name, stack[-1].since, now) if stack else self._enter("", now)
            self._enter(name, now)
            self._times[name].calls += 1
        stack.append(_Entered(name, now, now))

    def leave(self) -> None:
        """The thread ends the phase that it began last."""
        stack = self._stack()
        now = time.perf_counter()
        with self._lock:
            done = stack.pop()
            self._leave(done.name, done.since, now)
            thread = threading.get_ident()
            self._threads.setdefault(thread, threading.current_thread().name)
            if len(self._spans) < _MOST_SPANS:
                self._spans.append(_Span(done.name, thread, done.start, now))
            if stack:
                stack[-1].since = now
                self._enter(stack[-1].name, now)
            else:
                self._leave("", now, now)

    def start(self, module: torch.nn.Module, classes: int, class_counts: Sequence[int]) -> None:
        """See Observer: torch.profiler records some steps of the first training."""
        if self._tracer is not None or self._traced is not None:
            return
        # Its library tells what it does on stderr, and that there is no GPU as an error.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        activities = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._tracer = torch.profiler.profile(
            activities=activities,
            schedule=torch.profiler.schedule(
                wait=_SKIPPED_STEPS, warmup=_WARM_UP_STEPS, active=_TRACED_STEPS, repeat=1
            ),
            on_trace_ready=self._keep,
        )
        self._tracer.start()

    def step(self, step: Step) -> None:
        """See Observer."""
        if self._tracer is not None:
            self._tracer.step()
            if self._traced is not None:
                self.finish()

    def epoch(self, epoch: Epoch) -> None:
        """See Observer."""

    def finish(self) -> None:
        """See Observer."""
        if self._tracer is not None:
            tracer, self._tracer = self._tracer, None
            tracer.stop()
            self._traced = self._traced or {}

    def write_trace(self, folder: Path) -> None:
        """Writes the phases and torch.profiler's events as one Chrome trace, trace.json.gz.

        The phases are those of all threads, the first 20,000; torch.profiler sees the training thread alone.
        """
        trace = self._traced or {}
        events = [*trace.get("traceEvents", []), *self._phase_events(trace.get("baseTimeNanoseconds", 0))]
        text = json.dumps({**trace, "traceEvents": events, "traceName": TRACE})
        unfinished = folder / f".{TRACE}"
        unfinished.write_bytes(gzip.compress(text.encode(), compresslevel=6, mtime=0))
        unfinished.replace(folder / TRACE)

    def _phase_events(self, base: int) -> Iterator[dict[str, Any]]:
        numbers = {thread: number for number, thread in enumerate(self._threads)}
        yield {"ph": "M", "name": "process_name", "pid": _PHASES_PID, "args": {"name": "Whippet's phases"}}
        for thread, name in self._threads.items():
            yield {
                "ph": "M", "name": "thread_name", "pid": _PHASES_PID, "tid": numbers[thread], "args": {"name": name}
            }  # fmt: skip
        for span in self._spans:
            yield {
                "ph": "X",
                "cat": "phase",
                "name": span.name,
                "pid": _PHASES_PID,
                "tid": numbers[span.thread],
                "ts": round((span.start + self._epoch_offset) * 1e6 - base / 1e3, 3),
                "dur": round((span.end - span.start) * 1e6, 3),
            }

    def _keep(self, tracer: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "trace.json")
            tracer.export_chrome_trace(str(path))
            self._traced = json.loads(path.read_text("utf-8"))

    def _stack(self) -> list[_Entered]:
        if not hasattr(self._own, "stack"):
            self._own.stack = []
        stack: list[_Entered] = self._own.stack
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


def table(report: dict[str, Any]) -> str:
    """Writes a profile's report as a table.

    ``clock`` is the time in which at least one thread was in a phase; phases of several threads overlap, so its parts
    may add up to more than the whole. ``threads`` is the time summed over threads.
    """
    total = max(report["seconds"], 1e-9)
    lines = [f"{'phase':12} {'calls':>9} {'clock s':>9} {'of total':>9} {'threads s':>10}"]
    lines += [
        f"{one['name']:12} {one['calls']:9} {one['seconds']:9.2f} {one['seconds'] / total:9.1%} "
        f"{one['thread_seconds']:10.2f}"
        for one in sorted(report["phases"], key=lambda one: -one["thread_seconds"])
    ]
    lines.append(f"{'other':12} {'':9} {report['other_seconds']:9.2f} {report['other_seconds'] / total:9.1%}")
    lines.append(f"{'total':12} {'':9} {report['seconds']:9.2f} {1:9.1%}    {report['threads']} threads in phases")
    return "\n".join(lines)
