"""LitServe, on compiled PyTorch or on the archive's OpenVINO model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _bench
from _load import Side
from peers.process import free_ports, install, started

PACKAGES = ("litserve==0.2.19",)


def prepare() -> Path:
    """See `install`."""
    return install("litserve", PACKAGES)


def trials(*engines: str) -> list[dict[str, Any]]:
    """What LitServe's documentation names: workers, batches, the fast queue and the number of API servers.

    https://lightning.ai/docs/litserve/api-reference/litserver
    """
    cores = _bench.machine()["cores"]
    each = [
        {"workers": cores, "threads": 1, "batch": 1, "api_servers": 1, "fast_queue": True},
        {"workers": cores, "threads": 1, "batch": 1, "api_servers": cores, "fast_queue": False},
        {"workers": 1, "threads": cores, "batch": 1, "api_servers": 1, "fast_queue": True},
        {"workers": cores, "threads": 1, "batch": 8, "api_servers": 1, "fast_queue": True},
    ]
    return [
        {"engine": engine, **settings}
        for engine in engines
        for settings in each
        if not engine.startswith("compile")
        or settings["batch"] == 1  # batches of 8 are not compiled within five minutes
    ]


@contextmanager
def serve(name: str, commands: Path, model: Path, work: Path, engine: str, **settings: Any) -> Iterator[Side]:
    """Run LitServe with one of the `trials`."""
    [port] = free_ports(1)
    command: list[str | Path] = [commands / "python", Path(__file__).with_name("litserve_app.py")]
    command += ["--model", model, "--engine", engine, "--port", str(port)]
    for key in ("workers", "threads", "batch", "api_servers"):
        command += [f"--{key.replace('_', '-')}", str(settings[key])]
    command += ["--fast-queue"] if settings["fast_queue"] else []
    environment = {
        "OMP_NUM_THREADS": str(settings["threads"]),
        "TORCHINDUCTOR_CACHE_DIR": str(_bench.BENCH_DIR / "torch-compile"),  # the second start is quick
    }
    with started(name, command, work, f"http://127.0.0.1:{port}/health", environment) as pid:
        yield Side(name, f"http://127.0.0.1:{port}/predict", lambda answer: str(answer["label"]), pid)
