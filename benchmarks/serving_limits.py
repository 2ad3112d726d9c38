"""Measures what this server does at its limits: its start, its memory over many requests, and ten times its load.

Example: python benchmarks/serving_limits.py --model build/model.tar.gz --data ../shared/dogs/test
"""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import aiohttp
import typer
import uvloop

import _bench
from _load import BenchmarkError, Side, apply_load, read_photos, session
from peers import whippet
from peers.process import ROOT, resident_mb

sys.path.insert(0, str(ROOT / "tests"))  # the bombs are those of the tests
from support.hostile import bombs

STARTS = 5
BOMB_ROUNDS = 5
NORMAL_CALLERS = 64  # what it can carry without turning anybody away
MAX_WAITING = 2000
"""Callers of the overload that wait for an answer at most; what comes beyond them counts as not sent."""


def time_to_ready(model: Path, work: Path) -> dict[str, Any]:
    """Seconds from the start of the process to the first 200 of /ping."""
    seconds = []
    for number in range(STARTS):
        start = time.perf_counter()
        with whippet.serve(model, work / f"start-{number}"):
            seconds.append(time.perf_counter() - start)
    return _bench.spread(seconds)


async def send(url: str, photos: Sequence[bytes], requests: int) -> int:
    """Send a number of photos from a few callers; returns how many were not answered with 200."""
    turns = iter(range(requests))
    errors = 0

    async def call(callers: aiohttp.ClientSession) -> None:
        nonlocal errors
        for turn in turns:
            try:
                async with callers.post(url, data=photos[turn % len(photos)]) as response:
                    await response.read()
                    errors += response.status != 200
            except (aiohttp.ClientError, TimeoutError):
                errors += 1

    async with session() as callers:
        await asyncio.gather(*(call(callers) for _ in range(NORMAL_CALLERS)))
    return errors


def memory_over(side: Side, photos: Sequence[bytes], requests: int) -> dict[str, Any]:
    """Memory in MB after the start, and after each twentieth of many requests; growth is of the last over the first."""
    after_start = resident_mb(side.pid)
    errors, samples = 0, []
    for _ in range(20):
        errors += uvloop.run(send(side.url, photos, max(1, requests // 20)))
        samples.append(resident_mb(side.pid))
    return {
        "after_start_mb": round(after_start, 1),
        "samples_mb": [round(sample, 1) for sample in samples],
        "growth": round(samples[-1] / samples[0] - 1, 4),
        "requests": max(1, requests // 20) * 20,
        "errors": errors,
    }


@dataclass
class Flood:
    """What open-loop load met: seconds of the accepted and of the refused, and other failures."""

    accepted_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    errors: int = 0
    not_sent: int = 0
    retry_after: bool = True


async def flood(url: str, photos: Sequence[bytes], rate: float, seconds: float) -> Flood:
    """Send photos at a rate, whether or not those before are answered."""
    result = Flood()
    waiting: set[asyncio.Task[None]] = set()

    async def call(callers: aiohttp.ClientSession, photo: bytes) -> None:
        start = time.perf_counter()
        try:
            async with callers.post(url, data=photo) as response:
                await response.read()
                took = time.perf_counter() - start
                if response.status == 200:
                    result.accepted_s.append(took)
                elif response.status == 503:
                    result.refused_s.append(took)
                    result.retry_after &= "retry-after" in response.headers
                else:
                    result.errors += 1
        except (aiohttp.ClientError, TimeoutError):
            result.errors += 1

    async with session() as callers:
        start = time.perf_counter()
        for turn in count():
            due = start + turn / rate
            if due > start + seconds:
                break
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            elif turn % 16 == 0:
                await asyncio.sleep(0)  # late: the answers still have to be read
            if len(waiting) >= MAX_WAITING:
                result.not_sent += 1
                continue
            task = asyncio.create_task(call(callers, photos[turn % len(photos)]))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        await asyncio.gather(*waiting)
    return result


async def recovery(url: str, photos: Sequence[bytes], normal_rps: float) -> float | None:
    """Seconds until a tenth of a second's worth of answers comes at nine tenths of the normal rate; None beyond 10."""
    done: list[float] = []
    start = time.perf_counter()

    async def call(callers: aiohttp.ClientSession) -> None:
        for turn in count():
            if time.perf_counter() > start + 3:
                return
            try:
                async with callers.post(url, data=photos[turn % len(photos)]) as response:
                    await response.read()
                    if response.status == 200:
                        done.append(time.perf_counter() - start)
            except (aiohttp.ClientError, TimeoutError):
                continue

    async with session() as callers:
        await asyncio.gather(*(call(callers) for _ in range(NORMAL_CALLERS)))
    window = 0.5
    for tenth in range(25):
        begin = tenth / 10
        if sum(begin <= at < begin + window for at in done) >= 0.9 * normal_rps * window:
            return begin
    return None


def backbone_of(model: Path) -> str:
    """The network in a model archive."""
    with tarfile.open(model) as archive:
        document = archive.extractfile("model.json")
        return str(json.load(document)["backbone"]) if document else ""


def bombs_refused(side: Side) -> dict[str, Any]:
    """Milliseconds until a picture is refused that would fill the memory; each several times, one after the other."""
    host = urlsplit(side.url)
    milliseconds, statuses = [], set()
    pictures = [picture for _, picture in bombs()]
    for _ in range(BOMB_ROUNDS):
        for picture in pictures:
            connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=30)
            start = time.perf_counter()
            connection.request("POST", host.path, picture, {"Content-Type": "image/png"})
            response = connection.getresponse()
            response.read()
            milliseconds.append(1000 * (time.perf_counter() - start))
            statuses.add(response.status)
            connection.close()
    return {**_bench.spread(milliseconds), "statuses": sorted(statuses)}


def overload(side: Side, photos: Sequence[bytes], factor: float, seconds: float) -> dict[str, Any]:
    """Send several times the photos that the server can answer, and look at what becomes of them."""
    normal = uvloop.run(apply_load(side.url, photos, NORMAL_CALLERS, min(10, seconds))).figures()
    cpu, start = time.process_time(), time.perf_counter()
    flooded = uvloop.run(flood(side.url, photos, factor * normal["rps"], seconds))
    generator_cores = (time.process_time() - cpu) / (time.perf_counter() - start)
    again = uvloop.run(recovery(side.url, photos, normal["rps"]))
    return {
        "normal": normal,
        "factor": factor,
        "seconds": seconds,
        "sent_per_s": (len(flooded.accepted_s) + len(flooded.refused_s) + flooded.errors) / seconds,
        "accepted": len(flooded.accepted_s),
        "accepted_ms": _percentiles(flooded.accepted_s),
        "refused": len(flooded.refused_s),
        "refused_ms": _percentiles(flooded.refused_s),
        "retry_after_always": flooded.retry_after,
        "errors": flooded.errors,
        "not_sent": flooded.not_sent,
        "full_speed_after_s": again,
        "generator_cores": round(generator_cores, 2),
    }


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{q}": round(1000 * _bench.percentile(seconds, q), 1) for q in (50, 95, 99)} if seconds else {}


def markdown(report: dict[str, Any]) -> str:
    """The table of docs/performance.md with what it was measured on."""
    ready, overload, memory, bombs = (report[key] for key in ("ready_s", "overload", "memory", "bombs_ms"))
    normal, accepted, refused = overload["normal"], overload["accepted_ms"], overload["refused_ms"]
    samples = memory["samples_mb"]
    rows = [
        ("ready after the start of the process", f"{ready['median']:.2f} s ({ready['min']:.2f}-{ready['max']:.2f})"),
        ("memory after the start", f"{memory['after_start_mb']:.0f} MB"),
        (
            f"memory over {memory['requests']} requests",
            f"{min(samples):.0f}-{max(samples):.0f} MB, {memory['growth']:+.1%} from the first twentieth to the last",
        ),
        (f"normal load, {NORMAL_CALLERS} callers", f"{normal['rps']:.0f} req/s, p99 {normal['p99_ms']:.0f} ms"),
        (
            f"{overload['factor']:g} times that for {overload['seconds']:g} s",
            f"{overload['sent_per_s']:.0f} req/s sent: {overload['accepted']} accepted, {overload['refused']} answered "
            f"503, {overload['errors']} errors, {overload['not_sent']} not sent",
        ),
        ("p99 of the accepted", f"{accepted['p99']:.0f} ms, {accepted['p99'] / normal['p99_ms']:.2f} x of normal"),
        ("p99 of the refused", f"{refused['p99']:.0f} ms"),
        ("full speed again after", f"{overload['full_speed_after_s']} s"),
        (
            "pictures that would fill the memory",
            f"refused in {bombs['median']:.0f} ms ({bombs['min']:.0f}-{bombs['max']:.0f})",
        ),
    ]
    machine = _bench.told(report["machine"], report["load_average_before"], report["versions"])
    return f"{_bench.markdown_table(('what', 'measured'), rows)}\n\nModel: {report['model']}. {machine}"


def main(
    model: Annotated[Path, typer.Option(help="The model.tar.gz to serve.")] = Path("build/model.tar.gz"),
    data: Annotated[Path | None, typer.Option(help="A folder of photos; without it, some are drawn.")] = None,
    requests: Annotated[int, typer.Option(min=20, help="Over how many the memory is watched.")] = 50_000,
    factor: Annotated[float, typer.Option(min=1, help="How many times the load it can carry.")] = 10,
    seconds: Annotated[float, typer.Option(min=1, help="How long that lasts.")] = 60,
    docs: Annotated[bool, typer.Option(help="Write the table to docs/performance.md.")] = False,
) -> None:
    """Measure the server's start, memory and overload, and write build/bench/serving-limits.json."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through the contexts that end the servers
    load_before = _bench.load_average()
    try:
        if not model.exists():
            raise BenchmarkError(f"there is no {model}: train one first, or name it with --model.")
        photos = read_photos(data, 64)
        with tempfile.TemporaryDirectory(prefix="whippet-bench-", ignore_cleanup_errors=True) as folder:
            work = Path(folder)
            ready = time_to_ready(model, work)
            print(f"Ready after {ready['median']:.2f} s ({ready['min']:.2f}-{ready['max']:.2f})", flush=True)
            with whippet.serve(model, work / "overload") as side:
                overloaded = overload(side, photos, factor, seconds)
            normal, accepted = overloaded["normal"], overloaded["accepted_ms"]
            print(
                f"At {overloaded['sent_per_s']:.0f} requests/s against {normal['rps']:.0f} that it can carry: "
                f"p99 of the {overloaded['accepted']} accepted {accepted.get('p99', 0):.0f} ms "
                f"(normally {normal['p99_ms']:.0f}), "
                f"of the {overloaded['refused']} refused {overloaded['refused_ms'].get('p99', 0):.0f} ms; "
                f"{overloaded['errors']} other errors, {overloaded['not_sent']} not sent; "
                f"full speed after {overloaded['full_speed_after_s']} s; "
                f"the callers took {overloaded['generator_cores']} cores",
                flush=True,
            )
            with whippet.serve(model, work / "bombs") as side:
                bombs_ms = bombs_refused(side)
            print(
                f"Bombs answered with {bombs_ms['statuses']} in {bombs_ms['median']:.0f} ms, "
                f"{bombs_ms['max']:.0f} at most",
                flush=True,
            )
            with whippet.serve(model, work / "memory") as side:
                memory = memory_over(side, photos, requests)
            print(
                f"Memory {memory['after_start_mb']:.0f} MB after the start, {memory['samples_mb'][-1]:.0f} MB after "
                f"{memory['requests']} requests: {memory['growth']:+.1%}; {memory['errors']} errors",
                flush=True,
            )
    except BenchmarkError as error:
        sys.exit(f"benchmarks/serving_limits.py: {error}")
    report = {
        "ready_s": ready,
        "overload": overloaded,
        "memory": memory,
        "bombs_ms": bombs_ms,
        "model": backbone_of(model),
        "load_average_before": load_before,
        "machine": _bench.machine(),
        "versions": _bench.versions("whippet-serving", "openvino", "uvicorn", "pillow", "aiohttp", "uvloop"),
    }
    print(f"Wrote {_bench.write_report('serving-limits', report).relative_to(ROOT)}")
    if docs:
        _bench.write_docs("serving_limits", markdown(report))


if __name__ == "__main__":
    typer.run(main)
