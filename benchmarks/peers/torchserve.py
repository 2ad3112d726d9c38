"""TorchServe with its image classifier and the preprocessing of the model archive."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _bench
from _load import BenchmarkError, Side
from peers.process import free_ports, install, need_java, started

NAME = "TorchServe"
PACKAGES = ("torchserve==0.12.0", "torch-model-archiver==0.12.0")


def prepare() -> Path:
    """See `install`."""
    need_java()
    return install("torchserve", PACKAGES)


def trials() -> list[dict[str, Any]]:
    """What TorchServe's performance guide names for CPUs.

    https://pytorch.org/serve/performance_guide.html, https://github.com/pytorch/serve/blob/master/docs/configuration.md
    """
    cores = _bench.machine()["cores"]
    return [{"workers": workers, "threads": threads} for workers, threads in sorted({(1, cores), (1, 1), (cores, 1)})]


@contextmanager
def serve(commands: Path, model: Path, work: Path, workers: int, threads: int) -> Iterator[Side]:
    """Run TorchServe with a number of workers, each with a number of PyTorch threads."""
    work.mkdir(parents=True)
    weights = json.loads((model / "model.json").read_text())["weights"]["torchscript"]
    archiver: list[str | Path] = [
        *(commands / "torch-model-archiver", "--model-name", "photos", "--version", "1"),
        *("--serialized-file", model / weights, "--extra-files", model / "model.json"),
        *("--handler", Path(__file__).parent / "torchserve_handler.py", "--export-path", work),
    ]
    archived = subprocess.run(archiver, capture_output=True, text=True, check=False, timeout=120)
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
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": str(threads),
        **{name: str(work) for name in ("LOG_LOCATION", "METRICS_LOCATION", "TEMP", "TMPDIR")},
    }
    management_url = f"http://127.0.0.1:{management}/models/photos"
    with started(NAME, command, work, management_url, environment) as pid:
        wait_for_workers(NAME, management_url, work / "output.log")
        url = f"http://127.0.0.1:{inference}/predictions/photos"
        yield Side(NAME, url, lambda answer: str(max(answer, key=answer.get)), pid)


def wait_for_workers(name: str, url: str, log: Path, seconds: float = 120) -> None:
    """Wait until all workers of a model have loaded it.

    Raises:
        BenchmarkError: If they have not in time.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                [model] = json.load(response)
        except OSError:
            model = {"workers": []}
        if model["workers"] and all(worker["status"] == "READY" for worker in model["workers"]):
            return
        time.sleep(0.2)
    lines = [line for line in log.read_text(errors="replace").splitlines() if "rror:" in line] or ["see Java"]
    raise BenchmarkError(f"{name} does not start: {lines[-1][:300]}")
