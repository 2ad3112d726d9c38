"""A steady stream of calls, as a client under load makes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field


@dataclass
class Load:
    """Calls at a fixed rate, however long each of them takes, from entering the block to leaving it.

    Args:
        call: makes one call; what it returns or raises is kept.
        rate: calls a second.
        workers: calls that may be under way at once.

    Attributes:
        answers: what the calls returned.
        errors: what they raised.
    """

    call: Callable[[], str]
    rate: float
    workers: int = 64
    answers: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(self.workers)
        self._starter = threading.Thread(target=self._start_calls)
        self._starter.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._starter.join()
        self._pool.shutdown()

    def _start_calls(self) -> None:
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            self._pool.submit(self._make_one)
            due += 1 / self.rate

    def _make_one(self) -> None:
        try:
            self.answers.append(self.call())
        except Exception as error:  # every failure counts, whatever it is
            self.errors.append(error)
