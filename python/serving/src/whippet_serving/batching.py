"""Puts photos that wait together into one call of the network, where that is faster than a call for each."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
import numpy.typing as npt

from whippet_serving.networks import Logits, Runner


class _Photo:
    """A photo in the queue, and what its caller waits for: an answer, an error, or its turn to run the next batch."""

    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        self.pixels = pixels
        self.woken = threading.Event()
        self.answer: Logits | Exception | None = None


class Batched:
    """An engine whose callers' photos share calls of the network.

    There is no thread of its own: the caller that is first in the queue runs the batch for those behind it, and then
    wakes the first of those that have come meanwhile. Nobody waits for others unless there is a window.

    Attributes:
        name: The engine's name.
        callers: How many threads should ask at once.
    """

    def __init__(self, name: str, runner: Runner, size: int, window_s: float = 0.0) -> None:
        """Put a queue before a network.

        Args:
            name: The engine's name.
            runner: Answers for up to ``size`` photos.
            size: Photos in a batch at most.
            window_s: How long a batch waits for more photos, if its first is not alone.
        """
        self.name = name
        self.callers = 2 * size  # one batch gathers while another is in the network
        self._runner = runner
        self._size = size
        self._window_s = window_s
        self._queue: deque[_Photo] = deque()
        self._changed = threading.Condition()
        self._running = False

    def __call__(self, pixels: npt.NDArray[np.uint8], alone: bool) -> Logits:
        """Answer for one photo; see `Engine`.

        Raises:
            Exception: What the network raises for this photo when it is asked for it alone.
        """
        photo = _Photo(pixels)
        with self._changed:
            self._queue.append(photo)
            self._changed.notify()
            runs = not self._running
            self._running = True
        if not runs:
            photo.woken.wait()
        if photo.answer is None:
            self._run(0.0 if alone else self._window_s)
        if isinstance(photo.answer, np.ndarray):
            return photo.answer
        raise photo.answer or RuntimeError("the batch was broken off")

    def _run(self, window_s: float) -> None:
        with self._changed:
            if window_s:
                self._changed.wait_for(lambda: len(self._queue) >= self._size, window_s)
            batch = [self._queue.popleft() for _ in range(min(self._size, len(self._queue)))]
        try:
            self._answer(batch)
        finally:
            with self._changed:
                if self._queue:
                    self._queue[0].woken.set()
                else:
                    self._running = False
            for photo in batch:
                photo.answer = RuntimeError("the batch was broken off") if photo.answer is None else photo.answer
                photo.woken.set()

    def _answer(self, batch: list[_Photo]) -> None:
        try:
            logits = self._runner(np.stack([photo.pixels for photo in batch]))
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer = error
                return
            for photo in batch:  # one that the network cannot take does not fail the others
                self._answer([photo])
            return
        for photo, answer in zip(batch, logits, strict=True):
            photo.answer = answer
