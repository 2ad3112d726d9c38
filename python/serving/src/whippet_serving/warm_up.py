"""Finds by a short measurement how a network is best asked on this machine: in how many streams, in what batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from whippet_serving.networks import Network, Pixels, Runner

TRIAL_S = 0.02
"""How long one way is measured, twice: some photos of a small network, one or two of a large one."""

MARGIN = 1.25
"""What is not this much faster than the usual way does not replace it. Below that is noise, and what the decoding of
the next photos changes: two streams that measure a tenth slower than one answer a quarter more requests."""

BATCH_SIZES = (8, 32)
"""Batches that are tried where they can pay."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class Way:
    """A way of asking a network that has been measured.

    Attributes:
        streams: Photos worked on at once, each by its share of the threads.
        batch: Photos in a call.
        runner: The network, prepared for it.
        rate: Photos per second; 0 if it was not measured.
    """

    streams: int
    batch: int
    runner: Runner
    rate: float

    def __str__(self) -> str:
        asked = f"{self.streams} at once" + (f" in batches of {self.batch}" if self.batch > 1 else "")
        return f"{asked}: {self.rate:.0f}/s" if self.rate else asked


@dataclass(frozen=True)
class Tuned:
    """What the warm-up found.

    Attributes:
        alone: The runner for a photo that no other waits beside.
        alone_s: Its seconds for a photo.
        best: The way with the most photos per second.
        tried: All ways that were measured.
    """

    alone: Runner
    alone_s: float
    best: Way
    tried: tuple[Way, ...]


def tune(
    network: Network,
    side: int,
    threads: int,
    streams: int | None,
    batch: int | None,
    until: float,
    clock: Clock = time.perf_counter,
) -> Tuned:
    """Measure the ways of asking a network, the usual one first: a stream for each thread, no batches.

    Args:
        network: Its weights are loaded.
        side: Of a photo, in pixels.
        threads: How many the network may use.
        streams: The number of streams, if it is fixed.
        batch: The size of batches, if it is fixed.
        until: When to try nothing more, by the clock. The usual way is prepared, and answers once, whatever the time.
        clock: Seconds.
    """
    usual = streams or (1 if batch and batch > 1 else threads)
    runners: dict[tuple[int, int], Runner] = {}

    def prepared(streams: int, batch: int) -> Runner:
        if (streams, batch) not in runners:
            runners[streams, batch] = network.runner(streams, batch)
            runners[streams, batch](_photos(batch, side))  # the first call allocates
        return runners[streams, batch]

    def measured(streams: int, batch: int) -> Way:
        runner = prepared(streams, batch)
        rate = _rate(runner, streams, _photos(batch, side), clock) if clock() < until else 0.0
        return Way(streams, batch, runner, rate)

    tried = [measured(usual, batch or 1)]
    best = tried[0]
    for others_streams, others_batch in _other_ways(network, usual, streams, batch):
        if clock() >= until:
            break
        tried.append(measured(others_streams, others_batch))
        if tried[-1].rate > MARGIN * best.rate > 0:
            best = tried[-1]
    # fixed streams are kept for photos alone too, so that the operator gets what was asked for
    alone = prepared(usual if streams or not network.divides else 1, 1)
    return Tuned(alone, _fastest(alone, _photos(1, side), clock), best, tuple(tried))


def _other_ways(network: Network, usual: int, streams: int | None, batch: int | None) -> Iterator[tuple[int, int]]:
    if streams is None and network.divides:
        yield from ((count, batch or 1) for count in dict.fromkeys((1, usual // 2)) if 0 < count < usual)
    if batch is None and network.batches:
        yield from ((streams or 1, size) for size in BATCH_SIZES)


def _photos(count: int, side: int) -> Pixels:
    return np.full((count, side, side, 3), 128, dtype=np.uint8)


def _rate(runner: Runner, callers: int, photos: Pixels, clock: Clock) -> float:
    """Photos per second of so many callers at once; the better of two trials, as another process may disturb one."""

    def calls(start: float) -> int:
        number = 0
        while number == 0 or clock() < start + TRIAL_S:
            runner(photos)
            number += 1
        return number

    rates = []
    with ThreadPoolExecutor(callers) as pool:
        for _ in range(2):
            start = clock()
            total = sum(pool.map(calls, [start] * callers))
            rates.append(total * len(photos) / max(clock() - start, 1e-9))
    return max(rates)


def _fastest(runner: Runner, photos: Pixels, clock: Clock) -> float:
    seconds: list[float] = []
    start = clock()
    while not seconds or clock() < start + TRIAL_S / 2:
        began = clock()
        runner(photos)
        seconds.append(clock() - began)
    return min(seconds)
