from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from support.ports import free_port
from whippet_training.distributed import Group, join, torchrun_arguments
from whippet_training.errors import TrainingError

TESTS = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "localhost"}
PLAIN = {"epochs": 2, "batch_size": 7, "learning_rate": 1e-3, "warmup_epochs": 0.5, "amp": "off"}
EVERYTHING = {**PLAIN, "ema": 0.9, "mixup": 0.4, "cutmix": 1.0, "dropout": 0.2, "stages": 2, "unfreeze_every": 1}
LONELY_LAST_PHOTO = {**PLAIN, "batch_size": 29}


def processes(task: dict[str, Any], count: int) -> list[subprocess.Popen[str]]:
    port = str(free_port())
    return [
        subprocess.Popen(
            [sys.executable, "-m", "support.tuning", json.dumps(task)],
            cwd=TESTS,
            env={**ENVIRONMENT, "RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_PORT": port},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def test_two_processes_follow_one_whatever_the_settings_and_however_uneven_the_batches(drawn: Path) -> None:
    task = {"root": str(drawn), "settings": [PLAIN, EVERYTHING, LONELY_LAST_PHOTO]}
    started = [*processes(task, 1), *processes(task, 2)]
    (alone, _), (together, _), _ = answers = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], [told for _, told in answers]
    for one, other in zip(json.loads(alone), json.loads(together), strict=True):
        for first, second in zip(one["history"], other["history"], strict=True):
            assert first["train_loss"] == pytest.approx(second["train_loss"], abs=1e-5)
            assert first["valid_loss"] == pytest.approx(second["valid_loss"], abs=1e-5)
            assert first["valid_top1"] == second["valid_top1"]


def test_a_dead_process_ends_the_others_with_one_line(drawn: Path, tmp_path: Path) -> None:
    task = {"root": str(drawn), "settings": [PLAIN], "kill": 0, "kill_rank": 1, "timeout": 30}
    first, second = processes(task, 2)
    _, told = first.communicate(timeout=120)
    second.communicate(timeout=120)
    assert first.returncode == 1
    assert [line for line in told.splitlines() if line.startswith("error: ")] == [
        "error: Another process of this training has ended or does not answer; its own message says why. "
        "Start the training again: it goes on from its last checkpoint."
    ]


def test_processes_that_do_not_meet_are_told_of() -> None:
    environment = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "9"}
    told = "Process 1 of 2 did not meet the others at localhost:9 within 1 seconds"
    with pytest.raises(TrainingError, match=told), join(environment, timeout=1):
        pass


def test_a_lone_process_is_a_group_by_itself() -> None:
    with join({}) as group:
        assert (group.rank, group.size) == (0, 1)
        assert group.gather("a") == ["a"]
        assert group.broadcast("b") == "b"
        assert group.sum([1.0, 2.0]) == [1.0, 2.0]
        group.barrier()
    assert Group().device == torch.device("cpu")


HOSTS = {"SM_HOSTS": '["algo-1", "algo-2"]', "SM_CURRENT_HOST": "algo-2"}


@pytest.mark.parametrize(
    ("environment", "gpus", "expected"),
    [
        ({}, 8, None),
        ({"SM_HOSTS": '["algo-1"]', "SM_CURRENT_HOST": "algo-1"}, 1, None),
        ({**HOSTS, "WORLD_SIZE": "2"}, 0, None),
        (HOSTS, 0, (2, 1, 1)),
        (HOSTS, 4, (2, 1, 4)),
        ({"SM_HOSTS": '["algo-1"]', "SM_CURRENT_HOST": "algo-1"}, 4, (1, 0, 4)),
    ],
)
def test_a_sagemaker_job_starts_one_process_per_gpu(
    environment: dict[str, str], gpus: int, expected: tuple[int, int, int] | None
) -> None:
    arguments = torchrun_arguments(environment, gpus)
    if expected is None:
        assert arguments is None
        return
    nodes, rank, each = expected
    assert arguments == [
        f"--nnodes={nodes}",
        f"--node-rank={rank}",
        f"--nproc-per-node={each}",
        "--master-addr=algo-1",
        "--master-port=29500",
    ]
