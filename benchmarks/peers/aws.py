"""AWS's PyTorch inference toolkit as its container runs it, with the code/inference.py of the model archive.

Nothing of its packages is changed. ``SAGEMAKER_BASE_DIR`` names the folder that is /opt/ml in the container. Its two
other wishes have no setting: it writes /etc/sagemaker-ts.properties, and it wants to be the only TorchServe among the
processes it sees. As in a container, it gets namespaces of its own for both (``unshare``; no root is needed), with an
overlay over /etc that goes with it. It would listen on all addresses, without a token; TorchServe's own variables
(``TS_INFERENCE_ADDRESS`` and the like, which the toolkit lets through) keep it on 127.0.0.1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _bench
from _load import BenchmarkError, Side
from peers.process import free_ports, install, need_java, started
from peers.torchserve import PACKAGES as TORCHSERVE_PACKAGES
from peers.torchserve import wait_for_workers

NAME = "AWS toolkit"
PACKAGES = (
    *("sagemaker-pytorch-inference==2.0.25", "sagemaker-inference==1.10.1", *TORCHSERVE_PACKAGES),
    "setuptools<81",  # the toolkit imports pkg_resources
)
_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_OVERLAY = "mount -t overlay overlay -o lowerdir=/etc,upperdir=etc,workdir=overlay /etc"
_START = "from sagemaker_pytorch_serving_container import serving; serving.main()"


def prepare() -> Path:
    """See `install`.

    Raises:
        BenchmarkError: If Java is missing, or if this system gives users no namespaces.
    """
    need_java()
    try:
        allowed = subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False, timeout=30).returncode == 0
    except OSError:
        allowed = False
    if not allowed:
        raise BenchmarkError(
            "AWS's toolkit writes to /etc, so it runs in namespaces of its own, which this system does not give: "
            "allow user namespaces, or leave it out with --without aws."
        )
    return install("aws", PACKAGES)


def trials() -> list[dict[str, Any]]:
    """As it is, which is a worker for each core; and the workers and threads that SageMaker's documentation names."""
    cores = _bench.machine()["cores"]
    return [
        {"workers": None, "threads": None},
        *({"workers": workers, "threads": threads} for workers, threads in sorted({(1, cores), (cores, 1)})),
    ]


@contextmanager
def serve(commands: Path, model: Path, work: Path, workers: int | None, threads: int | None) -> Iterator[Side]:
    """Run the toolkit; None leaves a setting as the toolkit has it."""
    for folder in ("etc", "overlay", "ml"):
        (work / folder).mkdir(parents=True)
    shutil.copytree(model, work / "ml" / "model")
    inference, management, metrics, grpc_inference, grpc_management = free_ports(5)
    environment = {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "SAGEMAKER_BASE_DIR": str(work / "ml"),
        "WHIPPET_ENGINE": "torch",  # the container has no OpenVINO
        "TS_INFERENCE_ADDRESS": f"http://127.0.0.1:{inference}",
        "TS_MANAGEMENT_ADDRESS": f"http://127.0.0.1:{management}",
        "TS_METRICS_ADDRESS": f"http://127.0.0.1:{metrics}",
        "TS_GRPC_INFERENCE_PORT": str(grpc_inference),
        "TS_GRPC_MANAGEMENT_PORT": str(grpc_management),
        **({"SAGEMAKER_MODEL_SERVER_WORKERS": str(workers)} if workers else {}),
        **({"OMP_NUM_THREADS": str(threads)} if threads else {}),
        **{name: str(work) for name in ("LOG_LOCATION", "METRICS_LOCATION", "TEMP", "TMPDIR")},
    }
    command = [*_UNSHARE, "sh", "-c", f'{_OVERLAY} && exec "$0" -c "$1"', str(commands / "python"), _START]
    management_url = f"http://127.0.0.1:{management}/models/model"
    with started(NAME, command, work, management_url, environment) as pid:
        wait_for_workers(NAME, management_url, work / "output.log")
        url = f"http://127.0.0.1:{inference}/invocations"
        yield Side(NAME, url, lambda answer: str(answer["predictions"][0]["label"]), pid)
