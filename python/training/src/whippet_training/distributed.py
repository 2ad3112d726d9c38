"""Several processes that train one network, on one machine or on many: torch.distributed, as torchrun starts it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from whippet_training.errors import TrainingError

PORT = 29500
"""Where processes meet, unless MASTER_PORT says otherwise: torchrun's own default."""

TIMEOUT = 600.0
"""Seconds that a process waits for the others before the training ends."""


@dataclass(frozen=True)
class Group:
    """The processes that train together.

    Attributes:
        rank: Number of this process.
        size: How many there are.
        device: That this process computes on.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def barrier(self) -> None:
        """Waits for all."""
        if self.size > 1:
            self.sum([0.0])

    def gather(self, value: Any) -> list[Any]:
        """The value of each process, in the order of their ranks, on every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with told():
            distributed.all_gather_object(values, value)
        return values

    def broadcast(self, value: Any) -> Any:
        """The value of process 0, on every process."""
        if self.size == 1:
            return value
        values = [value]
        with told():
            distributed.broadcast_object_list(values, src=0, device=self.device)
        return values[0]

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums numbers over the processes, each by itself."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        with told():
            distributed.all_reduce(total)
        result: list[float] = total.tolist()
        return result


@contextmanager
def told() -> Iterator[None]:
    """Says in one line that another process is gone.

    Raises:
        TrainingError: If a collective operation inside fails.
    """
    try:
        yield
    except (distributed.DistBackendError, distributed.DistNetworkError, RuntimeError) as error:
        if isinstance(error, distributed.DistError) or _is_about_peers(str(error)):
            raise TrainingError(
                "Another process of this training has ended or does not answer; its own message says why. "
                "Start the training again: it goes on from its last checkpoint."
            ) from error
        raise


def _is_about_peers(message: str) -> bool:
    message = message.lower()
    return any(word in message for word in ("gloo", "nccl", "connection", "timed out", "timeout"))


@contextmanager
def join(environment: Mapping[str, str] | None = None, timeout: float = TIMEOUT) -> Iterator[Group]:
    """Joins the processes that torchrun started; a lone process is a group by itself.

    Args:
        environment: The process's, with torchrun's RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT.
        timeout: Seconds to wait for the others, at the start and at every step.

    Raises:
        TrainingError: If the others cannot be met, or one of them is gone.
    """
    environment = os.environ if environment is None else environment
    has_gpu = torch.cuda.is_available()
    local = int(environment.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local) if has_gpu else torch.device("cpu")
    size = int(environment.get("WORLD_SIZE", 1))
    if size == 1:
        yield Group(device=device)
        return
    rank = int(environment["RANK"])
    if has_gpu:
        torch.cuda.set_device(device)
    interface = environment.get("SM_NETWORK_INTERFACE_NAME")
    if interface:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)
    address = f"{environment.get('MASTER_ADDR', 'localhost')}:{environment.get('MASTER_PORT', PORT)}"
    try:
        distributed.init_process_group(
            "nccl" if has_gpu else "gloo",
            init_method=f"tcp://{address}" if environment is not os.environ else "env://",
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=timeout),
        )
    except (distributed.DistError, RuntimeError, ValueError) as error:
        raise TrainingError(
            f"Process {rank} of {size} did not meet the others at {address} within {timeout:g} seconds "
            f"({str(error).splitlines()[0]}); see whether all were started and reach that address."
        ) from error
    try:
        yield Group(rank, size, device)
    finally:
        distributed.destroy_process_group()


def torchrun_arguments(environment: Mapping[str, str], gpus: int) -> list[str] | None:
    """What torchrun must be told in a SageMaker job to start one process per GPU, or one per instance without GPUs.

    https://github.com/aws/sagemaker-training-toolkit/blob/master/ENVIRONMENT_VARIABLES.md

    Args:
        environment: With SageMaker's SM_HOSTS and SM_CURRENT_HOST.
        gpus: Of this instance.

    Returns:
        The arguments; None if one process is enough, or torchrun has started this one already.
    """
    hosts = json.loads(environment.get("SM_HOSTS") or "[]")
    if "WORLD_SIZE" in environment or not hosts or len(hosts) * max(gpus, 1) == 1:
        return None
    return [
        f"--nnodes={len(hosts)}",
        f"--node-rank={hosts.index(environment['SM_CURRENT_HOST'])}",
        f"--nproc-per-node={max(gpus, 1)}",
        f"--master-addr={environment.get('MASTER_ADDR', hosts[0])}",
        f"--master-port={environment.get('MASTER_PORT', PORT)}",
    ]


def relaunch(module: str, arguments: Sequence[str]) -> None:
    """Replaces this process by torchrun where a SageMaker job has several GPUs or instances; else returns.

    Args:
        module: That torchrun runs in every process.
        arguments: Its command line.
    """
    options = torchrun_arguments(os.environ, torch.cuda.device_count())
    if options is not None:
        command = [sys.executable, "-m", "torch.distributed.run", *options, "-m", module, *arguments]
        os.execv(sys.executable, command)  # noqa: S606
