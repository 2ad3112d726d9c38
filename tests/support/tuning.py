"""Fine-tuning of a network so small that a test can afford it; run as a program, one process of such a training."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch

from whippet_training.backbones import Backbone
from whippet_training.dataset import read_dataset
from whippet_training.distributed import Group, join
from whippet_training.errors import Interrupted, TrainingError
from whippet_training.finetune import FineTuned, Keeping, Labelled, fine_tune
from whippet_training.finetuning import FineTuning
from whippet_training.head import Head
from whippet_training.inference import Preprocessing
from whippet_training.observe import Observer, Observers, Step

SIDE = 32


def small_backbone(name: str = "test_resnet") -> Backbone:
    """A network of timm's tests, always with the same random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = timm.create_model(name, num_classes=0).eval().requires_grad_(False)
    preprocessing = Preprocessing(40, SIDE, "bicubic", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return Backbone(name, module, int(module.num_features), preprocessing, "drawn")


def small_head(backbone: Backbone, classes: int = 3) -> Head:
    """A linear head with small random weights."""
    draw = np.random.default_rng(0)
    weight = draw.normal(size=(classes, backbone.width)).astype(np.float32) / 20
    return Head(((weight, np.zeros(classes, np.float32)),))


def tune(
    root: Path,
    settings: FineTuning,
    seed: int = 0,
    observer: Observer | None = None,
    keeping: Keeping | None = None,
    group: Group | None = None,
    backbone: Backbone | None = None,
) -> FineTuned:
    """Fine-tunes on a folder of SPLIT/CLASS/* photos."""
    dataset = read_dataset(root)
    train, valid = (
        Labelled(photos, [dataset.classes.index(photo.label) for photo in photos])
        for photos in ([photo for photo in dataset.photos if photo.split == split] for split in ("train", "valid"))
    )
    backbone = backbone or small_backbone()
    classes = len(dataset.classes)
    head = small_head(backbone, classes)
    return fine_tune(backbone, head, dataset.source, train, valid, classes, settings, seed, observer, keeping, group)


class KillAt(Observers):
    """Sends a signal to this process in one step."""

    def __init__(self, step: int, number: int) -> None:
        super().__init__()
        self._step, self._number = step, number

    def step(self, step: Step) -> None:
        """See Observer."""
        if step.number == self._step:
            os.kill(os.getpid(), self._number)


def main() -> None:
    """Trains as the JSON in the first argument says and prints what came of it as JSON."""
    task: dict[str, Any] = json.loads(sys.argv[1])
    torch.set_num_threads(task.get("threads", 1))
    try:
        with join(timeout=task.get("timeout", 60.0)) as group:
            killed = "kill" in task and group.rank == task.get("kill_rank", 0)
            if killed and group.rank:  # observers watch in process 0 only
                os.kill(os.getpid(), signal.SIGKILL)
            observer = KillAt(task["kill"], task.get("signal", signal.SIGKILL)) if killed else None
            keeping = (
                Keeping(Path(task["checkpoints"]), every_steps=task.get("every_steps", 1))
                if "checkpoints" in task
                else None
            )
            results = [
                tune(Path(task["root"]), FineTuning(**settings), observer=observer, keeping=keeping, group=group)
                for settings in task["settings"]
            ]
            if group.rank == 0:
                told = [
                    {"weights": one.backbone.weights, "history": [asdict(epoch) for epoch in one.history]}
                    for one in results
                ]
                sys.stdout.write(json.dumps(told) + "\n")
        if group.size > 1:  # as the command does: PyTorch's threads now and then abort the slow end of a process
            sys.stdout.flush()
            os._exit(0)
    except Interrupted as interrupted:
        sys.exit(100 + interrupted.signal)
    except TrainingError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main()
