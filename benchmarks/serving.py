"""Measures this server against TorchServe: same weights, same preprocessing, same photos, same load, same run.

The load is closed-loop: each of C callers sends its next photo as soon as its last is answered. Both servers are up for
the whole run, and take turns within each round, so that what else happens on the machine meets both.

Example: python benchmarks/serving.py --model build/model.tar.gz --data ../shared/dogs/test
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import numpy as np
import typer
import uvloop
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Column, Table

import _bench

TORCHSERVE_VENV = _bench.BENCH_DIR / "torchserve-venv"
TORCHSERVE_PACKAGES = ("torchserve==0.12.0", "torch-model-archiver==0.12.0")
CONCURRENCIES = (1, 8, 64)
WARM_UP_S = 1.0
MIN_AGREEMENT = 0.99

console = Console(width=None if sys.stdout.isatty() else 120)  # a file or a log has no width of its own


class BenchmarkError(Exception):
    """Why the benchmark cannot run, in one line."""


@dataclass(frozen=True)
class Side:
    """A running server: where it answers, and how to read its top-1 class out of an answer."""

    name: str
    url: str
    top1: Callable[[Any], str]


@dataclass
class Load:
    """What one side answered in one round at one concurrency."""

    seconds: float
    latencies_s: list[float] = field(default_factory=list)
    errors: int = 0

    def figures(self) -> dict[str, float]:
        """Requests per second, latency percentiles in ms, and how many requests failed."""
        latencies = self.latencies_s or [float("inf")]
        return {
            "rps": len(self.latencies_s) / self.seconds,
            **{f"p{q}_ms": 1000 * _bench.percentile(latencies, q) for q in (50, 95, 99)},
            "errors": self.errors,
        }


async def apply_load(side: Side, photos: Sequence[bytes], concurrency: int, seconds: float) -> Load:
    """Send photos from ``concurrency`` callers for some seconds; what is in flight at the end still counts."""
    turns = count()
    load = Load(0)

    async def call(session: aiohttp.ClientSession, until: float, into: Load) -> None:
        while (start := time.perf_counter()) < until:
            try:
                async with session.post(side.url, data=photos[next(turns) % len(photos)]) as response:
                    await response.read()
                    if response.status == 200:
                        into.latencies_s.append(time.perf_counter() - start)
                    else:
                        into.errors += 1
            except (aiohttp.ClientError, TimeoutError):
                into.errors += 1

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers={"content-type": "image/jpeg"},
        timeout=aiohttp.ClientTimeout(total=60),
    ) as session:
        for duration, into in ((WARM_UP_S, Load(0)), (seconds, load)):
            start = time.perf_counter()
            await asyncio.gather(*(call(session, start + duration, into) for _ in range(concurrency)))
            into.seconds = time.perf_counter() - start
    return load


async def top1_classes(side: Side, photos: Sequence[bytes]) -> list[str]:
    """Ask for every photo's likeliest class, one at a time."""
    async with aiohttp.ClientSession(headers={"content-type": "image/jpeg"}) as session:
        answers = []
        for photo in photos:
            async with session.post(side.url, data=photo) as response:
                if response.status != 200:
                    raise BenchmarkError(f"{side.name} answers {response.status}: {(await response.text())[:200]}")
                answers.append(side.top1(await response.json(content_type=None)))
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
    return [files[index * len(files) // number].read_bytes() for index in range(min(number, len(files)))]


def _draw_photo(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def unpack(model: Path, folder: Path) -> Path:
    """Unpack a model archive.

    Raises:
        BenchmarkError: If there is none, or it is without TorchScript weights.
    """
    try:
        with tarfile.open(model) as archive:
            archive.extractall(folder, filter="data")
        for file in folder.rglob("*"):
            os.utime(file)  # reproducible archives date from 1970, which the .mar file's zip cannot express
        weights = json.loads((folder / "model.json").read_text())["weights"]
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        raise BenchmarkError(f"{model} cannot be read ({error}): train one first, or name it with --model.") from error
    if "torchscript" not in weights:
        raise BenchmarkError(f"{model} holds no TorchScript weights, which TorchServe needs.")
    return folder


@contextmanager
def whippet_serving(model: Path) -> Iterator[Side]:
    """Run this project's server as its users do."""
    command = [sys.executable, "-m", "whippet_serving", "--model", str(model), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        ready = re.search(r"on (http://\S+)", line)
        if not ready:
            raise BenchmarkError(f"whippet_serving does not start: {line.strip()}")
        yield Side("whippet_serving", f"{ready[1]}/invocations", lambda answer: answer["predictions"][0]["label"])
    finally:
        process.terminate()
        process.communicate(timeout=60)


def install_torchserve() -> Path:
    """Install TorchServe into an environment of its own; PyTorch itself is the one that is installed here.

    Returns:
        The environment's folder of commands.

    Raises:
        BenchmarkError: If it cannot be installed, or Java is missing.
    """
    if not shutil.which("java"):
        raise BenchmarkError("TorchServe needs Java 11 or newer on PATH: install a JRE, for example openjdk-17-jre.")
    commands: Path = TORCHSERVE_VENV / "bin"
    if not (TORCHSERVE_VENV / ".installed").exists():
        console.print(f"Installing {' '.join(TORCHSERVE_PACKAGES)}")
        venv.create(TORCHSERVE_VENV, with_pip=True, clear=True)
        pip: list[str | Path] = [commands / "pip", "install", "--quiet", *TORCHSERVE_PACKAGES]
        installed = subprocess.run(pip, capture_output=True, text=True, check=False)
        if installed.returncode:
            reason = (installed.stderr.strip().splitlines() or ["pip failed"])[-1]
            raise BenchmarkError(f"TorchServe cannot be installed: {reason}")
        # the same PyTorch, torchvision and Pillow on both sides, without another 5 GB
        [site_packages] = TORCHSERVE_VENV.glob("lib/python3*/site-packages")
        (site_packages / "benchmark.pth").write_text(sysconfig.get_path("purelib") + "\n")
        (TORCHSERVE_VENV / ".installed").touch()
    return commands


@contextmanager
def torchserve(commands: Path, model_folder: Path, work: Path, workers: int, threads: int) -> Iterator[Side]:
    """Run TorchServe with a number of workers, each with a number of PyTorch threads."""
    work.mkdir()
    weights = json.loads((model_folder / "model.json").read_text())["weights"]["torchscript"]
    archiver: list[str | Path] = [
        *(commands / "torch-model-archiver", "--model-name", "photos", "--version", "1"),
        *("--serialized-file", model_folder / weights, "--extra-files", model_folder / "model.json"),
        *("--handler", Path(__file__).parent / "torchserve" / "handler.py", "--export-path", work),
    ]
    archived = subprocess.run(archiver, capture_output=True, text=True, check=False)
    if archived.returncode:
        raise BenchmarkError(f"torch-model-archiver fails: {archived.stderr.strip().splitlines()[-1]}")
    inference, management, metrics, grpc_inference, grpc_management = free_ports(5)
    (work / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{inference}\n"
        f"management_address=http://127.0.0.1:{management}\n"
        f"metrics_address=http://127.0.0.1:{metrics}\n"
        f"grpc_inference_port={grpc_inference}\n"
        f"grpc_management_port={grpc_management}\n"
        f"default_workers_per_model={workers}\n"
        "job_queue_size=1000\n"
        "disable_system_metrics=true\n"
        "load_models=photos.mar\n"
    )
    command: list[str | Path] = [
        *(commands / "torchserve", "--start", "--foreground", "--ncs", "--disable-token-auth"),
        *("--model-store", work, "--ts-config", work / "config.properties"),
    ]
    environment = {
        **os.environ,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": str(threads),
        "LOG_LOCATION": str(work),
        "METRICS_LOCATION": str(work),
        "TEMP": str(work),
        "TMPDIR": str(work),
    }
    with (work / "output.log").open("w") as log:
        # its Java and Python processes are one group, so that none is left behind
        process = subprocess.Popen(command, cwd=work, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_for_workers(process, f"http://127.0.0.1:{management}/models/photos", workers, work / "output.log")
            yield Side(
                "TorchServe",
                f"http://127.0.0.1:{inference}/predictions/photos",
                lambda answer: max(answer, key=answer.get),
            )
        finally:
            _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started; TorchServe's launcher is gone long before its Java process is."""
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()
    for _ in range(200):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)


def _wait_for_workers(process: subprocess.Popen[bytes], url: str, workers: int, log: Path) -> None:
    for _ in range(240):
        if process.poll() is not None:
            break
        time.sleep(0.5)
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                states = [worker["status"] for worker in json.load(response)[0]["workers"]]
        except OSError:
            continue
        if states == ["READY"] * workers:
            return
    lines = [line for line in log.read_text().splitlines() if "ERROR" in line or "rror:" in line] or ["see Java"]
    raise BenchmarkError(f"TorchServe does not start: {lines[-1][:300]}")


def free_ports(number: int) -> list[int]:
    """Find ports that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [listener.getsockname()[1] for listener in sockets]


def choose_torchserve(commands: Path, model_folder: Path, work: Path, photos: Sequence[bytes]) -> tuple[int, int]:
    """Try what TorchServe's performance guide names for CPUs, and keep what answers most at 8 callers.

    https://pytorch.org/serve/performance_guide.html, https://github.com/pytorch/serve/blob/master/docs/configuration.md

    Returns:
        Number of workers, and of PyTorch threads for each.
    """
    cores = _bench.machine()["cores"]
    trials = {}
    for workers, threads in sorted({(1, cores), (1, 1), (cores, 1)}):
        with torchserve(commands, model_folder, work / f"trial-{workers}-{threads}", workers, threads) as side:
            trials[workers, threads] = uvloop.run(apply_load(side, photos, 8, 4)).figures()["rps"]
        console.print(f"TorchServe, {workers} x {threads} threads: {trials[workers, threads]:.1f} requests/s")
    return max(trials, key=trials.__getitem__)


def measure(sides: Sequence[Side], photos: Sequence[bytes], seconds: float, rounds: int) -> dict[str, Any]:
    """Load each side in turn, in every round at every concurrency.

    Returns:
        Per side and concurrency the spread of every figure; errors are the sum over the rounds.
    """
    figures: dict[str, dict[int, list[dict[str, float]]]] = {
        side.name: {concurrency: [] for concurrency in CONCURRENCIES} for side in sides
    }
    for round_ in range(rounds):
        for concurrency in CONCURRENCIES:
            for side in sides if round_ % 2 == 0 else reversed(sides):
                load = uvloop.run(apply_load(side, photos, concurrency, seconds))
                figures[side.name][concurrency].append(load.figures())
                latest = figures[side.name][concurrency][-1]
                console.print(f"round {round_ + 1}, {concurrency} callers, {side.name}: {latest['rps']:.1f} requests/s")
    return {
        name: {
            str(concurrency): {
                key: sum(int(r[key]) for r in results) if key == "errors" else _bench.spread(r[key] for r in results)
                for key in results[0]
            }
            for concurrency, results in per_concurrency.items()
        }
        for name, per_concurrency in figures.items()
    }


def print_table(figures: dict[str, Any]) -> None:
    """Print medians, with the extremes of the throughput."""
    table = Table(Column("server", no_wrap=True), box=box.SIMPLE, pad_edge=False)
    for heading in ("callers", "req/s", "min-max", "p50 ms", "p95 ms", "p99 ms", "errors"):
        table.add_column(heading, justify="right")
    for name, per_concurrency in figures.items():
        for concurrency, row in per_concurrency.items():
            medians = [f"{row[key]['median']:.1f}" for key in ("p50_ms", "p95_ms", "p99_ms")]
            rps = row["rps"]
            extremes = f"{rps['min']:.0f}-{rps['max']:.0f}"
            table.add_row(name, concurrency, f"{rps['median']:.1f}", extremes, *medians, str(row["errors"]))
    console.print(table)


def run(model: Path, data: Path | None, seconds: float, rounds: int, photo_count: int) -> Path:
    """Measure both sides and write the report.

    Raises:
        BenchmarkError: If a side cannot be run, or they disagree about the photos.
    """
    load_before = _bench.load_average()
    photos = read_photos(data, photo_count)
    commands = install_torchserve()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whippet-bench-")))
        model_folder = unpack(model, work / "model")
        workers, threads = choose_torchserve(commands, model_folder, work, photos)
        sides = [
            stack.enter_context(whippet_serving(model)),
            stack.enter_context(torchserve(commands, model_folder, work / "peer", workers, threads)),
        ]
        ours, theirs = (uvloop.run(top1_classes(side, photos)) for side in sides)
        agreement = sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(photos)
        if agreement < MIN_AGREEMENT:
            raise BenchmarkError(
                f"The servers agree on {agreement:.1%} of the photos only: they do not do the same work."
            )
        figures = measure(sides, photos, seconds, rounds)
        document = json.loads((model_folder / "model.json").read_text())
    print_table(figures)
    console.print(f"TorchServe ran {workers} workers with {threads} threads each, the best of those tried.")
    return _bench.write_report(
        "serving",
        {
            "figures": figures,
            "top1_agreement": agreement,
            "model": {key: document[key] for key in ("id", "name", "backbone")},
            "photos": {"number": len(photos), "mean_bytes": round(sum(map(len, photos)) / len(photos))},
            "torchserve": {"workers": workers, "threads_per_worker": threads},
            "load": {"seconds": seconds, "rounds": rounds, "generator": "aiohttp on uvloop", "closed_loop": True},
            "load_average_before": load_before,
            "machine": _bench.machine(),
            "versions": {
                **_bench.versions("whippet-serving", "openvino", "uvicorn", "starlette", "pillow", "numpy"),
                **_bench.versions("torch", "torchvision", "aiohttp", "uvloop"),
                **dict(package.split("==") for package in TORCHSERVE_PACKAGES),
            },
        },
    )


def main(
    model: Annotated[Path, typer.Option(help="The model.tar.gz that both sides serve.")] = Path("build/model.tar.gz"),
    data: Annotated[Path | None, typer.Option(help="A folder of photos; without it, some are drawn.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each load lasts.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="How often each side takes its turn.")] = 3,
    photo_count: Annotated[int, typer.Option("--photos", min=1, help="How many photos the callers send.")] = 64,
) -> None:
    """Measure this server against TorchServe and write build/bench/serving.json."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through the contexts that end the servers
    try:
        report = run(model, data, seconds, rounds, photo_count)
    except BenchmarkError as error:
        sys.exit(f"benchmarks/serving.py: {error}")
    console.print(f"Wrote {report.relative_to(_bench.BENCH_DIR.parent.parent)}")


if __name__ == "__main__":
    typer.run(main)
