"""Fine-tuning by the training command, in processes that are stopped and started, alone and in pairs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.ports import free_port
from whippet_training.console import RESUMABLE
from whippet_training.sample import Picture, draw

FLAGS = (
    "--backbone=tf_efficientnet_lite0",
    "--image-size=64",
    "--finetune-epochs=2",
    "--finetune-batch-size=8",
    "--finetune-ema=0.9",
    "--finetune-mixup=0.2",
    "--finetune-amp=off",
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 12), ("valid", 4), ("test", 4)):
        for animal in ("bee", "fish"):
            (root / split / animal).mkdir(parents=True)
            for number in range(count):
                (root / split / animal / f"{number}.jpg").write_bytes(draw(Picture(split, animal, number)))
    return root


def start(photos: Path, folder: Path, *flags: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "whippet_training.train", str(photos), "--out", str(folder / "run"), *FLAGS]
    return subprocess.Popen(
        [*command, *flags, "--json"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "WHIPPET_CACHE": str(folder / "cache"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> dict[str, Any]:
    printed, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    report: dict[str, Any] = json.loads(printed)
    return report


@pytest.fixture(scope="module")
def tuned(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder and the report of one whole fine-tuning."""
    folder = tmp_path_factory.mktemp("tuned")
    return folder, end(start(photos, folder))


def test_a_fine_tuned_model_is_measured_packed_and_described(tuned: tuple[Path, dict[str, Any]]) -> None:
    folder, report = tuned
    assert report["model"]["name"] == "tf_efficientnet_lite0-linear-tuned"
    assert [epoch["number"] for epoch in report["finetuning"]["epochs"]] == [0, 1]
    assert report["finetuning"]["best_epoch"] in {1, 2}
    assert report["finetuning"]["images_per_second"] > 0
    assert report["hyperparameters"]["finetune_ema"] == 0.9
    assert report["test"]["images"] == 8
    assert (folder / "run" / "model.tar.gz").stat().st_size > 1_000_000
    assert not list((folder / "cache" / "checkpoints").iterdir())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, RESUMABLE), (signal.SIGINT, 130)])
def test_an_interrupted_fine_tuning_goes_on_to_the_same_model(
    photos: Path, tuned: tuple[Path, dict[str, Any]], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    process = start(photos, tmp_path)
    while not any((tmp_path / "cache").glob("checkpoints/*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(0.2)  # the network is made, and each of its steps takes this long
    process.send_signal(number)
    _, told = process.communicate(timeout=100)
    assert process.returncode == status, told
    assert told.splitlines()[-1] == "interrupted; the same command goes on where it was"
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert len(list((tmp_path / "cache").glob("checkpoints/*/*.checkpoint"))) == 1
    assert end(start(photos, tmp_path))["model"]["id"] == tuned[1]["model"]["id"]


def test_two_processes_tune_one_network(photos: Path, tuned: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    port = str(free_port())
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    first, second = (start(photos, tmp_path, RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in range(2))
    report = end(first)
    assert second.communicate(timeout=60)[0] == ""
    assert second.returncode == 0
    for one, other in zip(report["finetuning"]["epochs"], tuned[1]["finetuning"]["epochs"], strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-4)
        assert one["valid_loss"] == pytest.approx(other["valid_loss"], abs=1e-4)


def test_fine_tuning_does_not_learn_from_the_photos_that_choose_its_epoch(photos: Path, tmp_path: Path) -> None:
    process = start(photos, tmp_path, "--fit-on", "train+valid")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert told == (
        "error: Fine-tuning needs the validation photos to choose its best epoch: pass --fit-on train, or "
        "--finetune-epochs 0.\n"
    )
