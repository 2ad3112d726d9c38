"""The raw ceiling: the loop without HTTP, beside callers that a server answers at once.

The callers send as many photos a second as the server under test answered, so that what HTTP takes of the cores at that
rate is paid for on both sides.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvloop

import _bench
from _load import WARM_UP_S, BenchmarkError, Load, apply_load
from peers.process import end_group, free_ports, started

ONE = "one at a time"
LOOPS = ("threads", "processes", ONE)


@contextmanager
def instant_server(work: Path) -> Iterator[str]:
    """Run the server that answers at once; yields its address."""
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, Path(__file__).with_name("instant.py"), str(port)]
    with started("the server that answers at once", command, work, url, {}):
        yield url


class Loops:
    """Processes that loop on demand, started once."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def start(self, seconds: float) -> None:
        """Let all loop for some seconds."""
        for process in self._processes:
            assert process.stdin
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()

    def result(self) -> Load:
        """Wait for the end.

        Raises:
            BenchmarkError: If one has ended early.
        """
        load = Load()
        for process in self._processes:
            assert process.stdout
            line = process.stdout.readline()
            if not line:
                raise BenchmarkError(f"the raw loop ended with status {process.wait()}")
            answer = json.loads(line)
            load.latencies_s += answer["latencies"]
            load.seconds = max(load.seconds, answer["seconds"])
        return load


@contextmanager
def loops(model: Path, photos: Path, kind: str, precision: str) -> Iterator[Loops]:
    """Start the processes of one of `LOOPS`, in float32 or bfloat16; they idle until they are told to loop."""
    cores = _bench.machine()["cores"]
    processes, callers, threads = {
        "threads": (1, cores, cores),
        "processes": (cores, 1, 1),
        ONE: (1, 1, cores),
    }[kind]
    script = Path(__file__).with_name("raw_loop.py")
    command = [sys.executable, script, model, photos, str(callers), str(threads), precision]
    path = os.pathsep.join(filter(None, [str(_bench.BENCH_DIR.parent.parent / "python/serving/src"), *_python_path()]))
    with ExitStack() as stack:
        running = []
        for _ in range(processes):
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
            )
            stack.callback(end_group, process)
            running.append(process)
        for process in running:
            assert process.stdout
            if process.stdout.readline() != "ready\n":
                raise BenchmarkError("the raw loop does not start: see its message above")
        yield Loops(running)


def _python_path() -> list[str]:
    return [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []


def measure(loops_: Loops, url: str, photos: Sequence[bytes], callers: int, seconds: float, rate: float) -> Load:
    """Loop beside callers of the server that answers at once, at a rate of photos a second."""
    loops_.start(WARM_UP_S)
    loops_.result()
    loops_.start(seconds + WARM_UP_S)
    generator = uvloop.run(apply_load(url, photos, callers, seconds, rate))
    load = loops_.result()
    load.generator_cpu_s = generator.generator_cpu_s * load.seconds / generator.seconds
    return load


def measure_alone(loops_: Loops, seconds: float) -> Load:
    """Loop with nothing beside it."""
    loops_.start(WARM_UP_S)
    loops_.result()
    time.sleep(0.1)
    loops_.start(seconds)
    return loops_.result()
