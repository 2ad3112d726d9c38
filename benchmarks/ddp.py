"""Measures two processes of one thread each against one process of two threads: same photos, same global batch.

The loss curves may differ by rounding only; the photos a second say what dividing the work costs. Everything is in
float32, so that rounding is that of sums in another order and not of the type.

Example: .venv/bin/python benchmarks/ddp.py --data ../shared/dogs
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

import _bench
from whippet_training.backbones import create_backbone
from whippet_training.dataset import read_dataset
from whippet_training.distributed import join
from whippet_training.finetune import Labelled, fine_tune
from whippet_training.finetuning import FineTuning
from whippet_training.head import Head


def train(task: dict[str, Any]) -> None:
    """Trains as one process of a group and prints the loss curve and the speed."""
    torch.set_num_threads(task["threads"])
    dataset = read_dataset(Path(task["data"]))
    backbone = create_backbone(task["backbone"])
    classes = dataset.classes[: task["classes"]]
    train, valid = (
        Labelled(photos, [classes.index(photo.label) for photo in photos])
        for photos in (
            [
                photo
                for label in classes
                for photo in [one for one in dataset.photos if (one.split, one.label) == (split, label)][:count]
            ]
            for split, count in (("train", task["per_class"]), ("valid", 2))
        )
    )
    head = Head(((np.zeros((len(classes), backbone.width), np.float32), np.zeros(len(classes), np.float32)),))
    settings = FineTuning(epochs=2, batch_size=task["batch"], amp=task["amp"], learning_rate=task["learning_rate"])
    with join() as group:
        tuned = fine_tune(backbone, head, dataset.source, train, valid, len(classes), settings, group=group)
        if group.rank == 0:
            losses = [[epoch.train_loss, epoch.valid_loss] for epoch in tuned.history]
            sys.stdout.write(json.dumps({"losses": losses, "speed": len(train.photos) / tuned.history[-1].seconds}))


def run(task: dict[str, Any], processes: int) -> dict[str, Any]:
    """Runs a training in some processes with two threads in all."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    threads = 2 // processes
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    shared |= {"LOCAL_WORLD_SIZE": str(processes), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--task", json.dumps({**task, "threads": threads})]
    started = [
        subprocess.Popen(command, env={**os.environ, **shared, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(processes)
    ]
    answers = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit("a training failed; its message is above")
    answer: dict[str, Any] = json.loads(answers[0])
    return answer


def main(
    data: Annotated[Path | None, typer.Option(help="Photos as SPLIT/CLASS/*.")] = None,
    backbone: Annotated[str, typer.Option(help="timm name.")] = "tf_efficientnet_lite0",
    classes: Annotated[int, typer.Option(help="Classes to train on.", min=2)] = 6,
    per_class: Annotated[int, typer.Option(help="Training photos of each.", min=1)] = 25,
    batch: Annotated[int, typer.Option(help="Photos in a step of all processes.", min=2)] = 32,
    learning_rate: Annotated[float, typer.Option(help="AdamW's; the larger, the faster rounding grows.")] = 3e-5,
    amp: Annotated[str, typer.Option(help="Precision: off, bfloat16 or auto.")] = "off",
    rounds: Annotated[int, typer.Option(help="Rounds; the ways take turns in each.", min=1)] = 3,
    task: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Prints the figures and writes build/bench/ddp.json."""
    if task:
        train(json.loads(task))
        sys.stdout.flush()
        os._exit(0)  # PyTorch's threads now and then abort a process that ends slowly
    if data is None:
        raise SystemExit("name the photos: --data DIR")
    chosen = {"data": str(data), "backbone": backbone, "classes": classes, "per_class": per_class}
    chosen |= {"batch": batch, "amp": amp, "learning_rate": learning_rate}
    load = _bench.load_average()
    pairs = [(run(chosen, 1), run(chosen, 2)) for _ in range(rounds)]
    difference = max(float(np.abs(np.subtract(one["losses"], two["losses"])).max()) for one, two in pairs)
    report = {
        "machine": _bench.machine(),
        "load_average": load,
        "versions": _bench.versions("torch", "timm"),
        **{name: value for name, value in chosen.items() if name != "data"},
        "largest_difference_of_a_loss": difference,
        "losses": {"one process": pairs[0][0]["losses"], "two processes": pairs[0][1]["losses"]},
        "images_per_second": {
            "one process, two threads": _bench.spread([one["speed"] for one, _ in pairs], 1),
            "two processes, one thread each": _bench.spread([two["speed"] for _, two in pairs], 1),
        },
        "ratio": _bench.spread([two["speed"] / one["speed"] for one, two in pairs]),
    }
    for name, values in report["images_per_second"].items():
        sys.stdout.write(f"{name:32} {values['median']:7.1f} images/s  ({values['min']} to {values['max']})\n")
    sys.stdout.write(f"{'ratio, round by round':32} {report['ratio']['median']:7.3f}\n")
    sys.stdout.write(f"{'largest difference of a loss':32} {difference:.1e}\n")
    sys.stdout.write(f"{_bench.write_report('ddp', report)}\n")


if __name__ == "__main__":
    typer.run(main)
