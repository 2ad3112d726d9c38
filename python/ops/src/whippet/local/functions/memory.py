"""Ends functions that take more memory than they have, as Lambda does.

What a function uses is the resident memory of its processes, looked at every tenth of a second: a peak between two
looks goes unseen. Pages that its processes share count for each of them, unless that alone would exceed the limit.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

import psutil

log = logging.getLogger(__name__)

INTERVAL = 0.1


@dataclass
class _Watched:
    limit: int
    on_excess: Callable[[], None]
    peak: int = 0


class MemoryWatch:
    """Looks at groups of processes while they are at work; one thread for all of them, which rests when none is."""

    def __init__(self) -> None:
        self._watched: dict[int, _Watched] = {}
        self._stopped = threading.Event()
        self._changed = threading.Condition()  # guards what the thread waits for; only `watch` and `stop` end its rest
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to look."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._stopped,), name="lambda-memory", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        with self._changed:
            self._stopped.set()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._watched.clear()

    def watch(self, group: int, limit: int, on_excess: Callable[[], None]) -> None:
        """Looks at a group of processes every now and then, until `forget`.

        Args:
            group: the id of the group.
            limit: the bytes that it may use.
            on_excess: called, from the thread, when it uses more.
        """
        with self._changed:
            self._watched[group] = _Watched(limit, on_excess)
            self._changed.notify()

    def forget(self, group: int) -> int:
        """Looks at a group no more; the most bytes that it was seen to use."""
        watched = self._watched.pop(group, None)
        return watched.peak if watched else 0

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.wait(INTERVAL):
            with self._changed:
                self._changed.wait_for(lambda: self._watched or stopped.is_set())
            try:
                self._look()
            except Exception:
                log.exception("the memory of functions cannot be looked at")

    def _look(self) -> None:
        for group, pids in _members(list(self._watched)).items():
            if (watched := self._watched.get(group)) is None:
                continue
            used = resident(pids)
            if used > watched.limit and len(pids) > 1:
                used = _shared_fairly(pids)
            watched.peak = max(watched.peak, used)
            if used > watched.limit:
                watched.on_excess()


def resident(pids: Collection[int]) -> int:
    """Bytes of memory that are resident for processes."""
    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(pid).memory_info().rss
    return total


def _shared_fairly(pids: Collection[int]) -> int:
    """The same, where each of those who share a page has a part of it, as far as the system tells."""
    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            usage = psutil.Process(pid).memory_full_info()
            total += getattr(usage, "pss", usage.rss)
    return total


def _members(groups: Collection[int]) -> dict[int, list[int]]:
    """The processes of each group."""
    found: dict[int, list[int]] = {}
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if (group := os.getpgid(pid)) in groups:
                found.setdefault(group, []).append(pid)
    return found
