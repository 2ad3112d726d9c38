"""The callers of the serving benchmarks: photos, closed-loop and open-loop load, and what it measured."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from PIL import Image

import _bench

WARM_UP_S = 1.0
TIMEOUT_S = 60.0


class BenchmarkError(Exception):
    """Why a benchmark cannot run, in one line."""


@dataclass(frozen=True)
class Side:
    """A running server: where it answers, how to read its top-1 class out of an answer, and its process group."""

    name: str
    url: str
    top1: Callable[[Any], str]
    pid: int


@dataclass
class Load:
    """What one side answered in one round at one concurrency."""

    seconds: float = 0.0
    generator_cpu_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    errors: int = 0

    def figures(self) -> dict[str, float]:
        """Requests per second, latency percentiles in ms, failed requests, and the cores that the callers took."""
        latencies = self.latencies_s or [float("nan")]
        return {
            "rps": len(self.latencies_s) / self.seconds,
            **{f"p{q}_ms": 1000 * _bench.percentile(latencies, q) for q in (50, 95, 99)},
            "errors": self.errors,
            "generator_cores": self.generator_cpu_s / self.seconds,
        }


def session() -> aiohttp.ClientSession:
    """Callers of photos, as many as are wanted at once."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers={"content-type": "image/jpeg"},
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
    )


async def apply_load(
    url: str, photos: Sequence[bytes], concurrency: int, seconds: float, rate: float | None = None
) -> Load:
    """Send photos from ``concurrency`` callers for some seconds; what is in flight at the end still counts.

    Args:
        url: Where the photos go.
        photos: Are sent in turn.
        concurrency: Each caller sends its next photo as soon as its last is answered.
        seconds: How long, after a second to warm up.
        rate: All callers together send no more than so many photos a second.
    """
    turns = count()

    async def call(callers: aiohttp.ClientSession, start: float, until: float, into: Load) -> None:
        while (begin := time.perf_counter()) < until:
            turn = next(turns)
            if rate and (wait := start + turn / rate - begin) > 0:
                await asyncio.sleep(wait)
                begin = time.perf_counter()
            try:
                async with callers.post(url, data=photos[turn % len(photos)]) as response:
                    await response.read()
                    if response.status == 200:
                        into.latencies_s.append(time.perf_counter() - begin)
                    else:
                        into.errors += 1
            except (aiohttp.ClientError, TimeoutError):
                into.errors += 1

    async with session() as callers:
        for duration in (WARM_UP_S, seconds):
            load, turns = Load(), count()
            start, cpu = time.perf_counter(), time.process_time()
            await asyncio.gather(*(call(callers, start, start + duration, load) for _ in range(concurrency)))
            load.seconds, load.generator_cpu_s = time.perf_counter() - start, time.process_time() - cpu
    return load


async def top1_classes(side: Side, photos: Sequence[bytes]) -> list[str]:
    """Ask for every photo's likeliest class, one at a time.

    Raises:
        BenchmarkError: If one is not answered.
    """
    answers = []
    try:
        async with session() as callers:
            for photo in photos:
                async with callers.post(side.url, data=photo) as response:
                    if response.status != 200:
                        raise BenchmarkError(f"{side.name} answers {response.status}: {(await response.text())[:200]}")
                    answers.append(side.top1(await response.json(content_type=None)))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise BenchmarkError(f"{side.name} does not answer: {error!r}") from error
    return answers


def read_photos(data: Path | None, number: int) -> list[bytes]:
    """Take JPEG files spread evenly over a folder, or draw pictures of a usual size where there is none.

    Raises:
        BenchmarkError: If the folder holds none.
    """
    if data is None:
        return [_draw_photo(seed) for seed in range(number)]
    files = sorted(path for path in data.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})
    if not files:
        raise BenchmarkError(f"There are no .jpg files under {data}: name a folder of photos with --data.")
    number = min(number, len(files))
    return [files[index * len(files) // number].read_bytes() for index in range(number)]


def _draw_photo(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
