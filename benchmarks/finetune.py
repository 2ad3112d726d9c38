"""Measures Whippet's fine-tuning against timm's own train.py: same backbone, photos, batch size and threads.

timm runs with its defaults and in its fastest documented way on a CPU (channels last, bfloat16, and torch.compile if
asked for). train.py is part of neither timm's wheel nor its source distribution: take it from the tag of the installed
version at https://github.com/huggingface/pytorch-image-models. All of them train every weight of the network; each
reports the photos a second of its own last epoch, validation left out, so that start and warm-up do not count.

Example: .venv/bin/python benchmarks/finetune.py --data ../shared/dogs --timm-train train.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

import _bench
from whippet_training.backbones import create_backbone
from whippet_training.dataset import Dataset, read_dataset
from whippet_training.distributed import Group
from whippet_training.finetune import Labelled, fine_tune, precision
from whippet_training.finetuning import FineTuning
from whippet_training.head import Head

EPOCHS = 2
"""The first one warms up."""

DEFAULTS: tuple[str, ...] = ()
FASTEST = ("--channels-last", "--amp", "--amp-dtype", "bfloat16")


def lay_out(dataset: Dataset, classes: list[str], per_class: int, folder: Path) -> None:
    """Links the photos of some classes as timm and Whippet both read them."""
    for split, name, count in (("train", "train", per_class), ("valid", "val", 1)):
        for label in classes:
            place = folder / name / label
            place.mkdir(parents=True)
            photos = [photo for photo in dataset.photos if (photo.split, photo.label) == (split, label)][:count]
            for number, photo in enumerate(photos):
                (place / f"{number}{Path(photo.file).suffix}").symlink_to((dataset.root / photo.file).resolve())


def timm_speed(
    script: Path, data: Path, backbone: str, classes: int, batch: int, workers: int, options: tuple[str, ...]
) -> float:
    """Photos a second in the last epoch of timm's train.py."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as output:
        command = [
            sys.executable, str(script), "--data-dir", str(data), "--val-split", "val", "--model", backbone,
            "--num-classes", str(classes), "--batch-size", str(batch), "--epochs", str(EPOCHS), "--warmup-epochs", "0",
            "--cooldown-epochs", "0", "--workers", str(workers), "--device", device, "--output", output,
            "--log-interval", "1", "--seed", "0", *options,
        ]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
    # "Train: 1 [   3/4 (100%)]  Loss: 2.1 (2.1)  Time: 0.5s,   64.00/s  (0.5s,   63.00/s) ...": the mean is in brackets
    lines = re.findall(rf"Train: {EPOCHS - 1} \[.*\(\s*[\d.]+s,\s*([\d.]+)/s\)", done.stdout + done.stderr)
    if done.returncode or not lines:
        raise SystemExit(f"timm's train.py failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return float(lines[-1])


def own_speed(data: Path, backbone: str, batch: int) -> float:
    """Photos a second in the last epoch of Whippet's fine-tuning, with its defaults."""
    dataset = read_dataset(data)
    network = create_backbone(backbone)
    classes = dataset.classes
    train, valid = (
        Labelled(photos, [classes.index(photo.label) for photo in photos])
        for photos in ([photo for photo in dataset.photos if photo.split == split] for split in ("train", "valid"))
    )
    head = Head(((np.zeros((len(classes), network.width), np.float32), np.zeros(len(classes), np.float32)),))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings = FineTuning(epochs=EPOCHS, batch_size=batch)
    tuned = fine_tune(network, head, dataset.source, train, valid, len(classes), settings, group=Group(device=device))
    return len(train.photos) / tuned.history[-1].seconds


def peak_share(images_per_second: float, backbone: str) -> dict[str, float]:
    """On a GPU: the training's arithmetic against that of a large matrix product measured here."""
    network = create_backbone(backbone)
    side = network.preprocessing.crop
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
        network.module(torch.zeros(1, 3, side, side))
    one, other = (torch.randn(8192, 8192, device="cuda", dtype=precision("auto", torch.device("cuda"))) for _ in "12")
    start, end = (torch.cuda.Event(enable_timing=True) for _ in "12")
    for _ in range(5):
        one @ other
    start.record()
    for _ in range(20):
        one @ other
    end.record()
    torch.cuda.synchronize()
    peak = 20 * 2 * 8192**3 / (start.elapsed_time(end) / 1000)
    # the backward pass computes twice what the forward pass does
    achieved = 3 * counter.get_total_flops() * images_per_second
    return {"peak_tflops": round(peak / 1e12, 1), "share": round(achieved / peak, 4)}


def main(
    data: Annotated[Path, typer.Option(help="Photos as SPLIT/CLASS/*.")],
    timm_train: Annotated[Path, typer.Option(help="timm's train.py, of the installed version.")],
    backbone: Annotated[str, typer.Option(help="timm name.")] = "tf_efficientnet_lite0",
    classes: Annotated[int, typer.Option(help="Classes to train on.", min=2)] = 8,
    per_class: Annotated[int, typer.Option(help="Training photos of each.", min=1)] = 24,
    batch: Annotated[int, typer.Option(help="Photos in a step.", min=1)] = 32,
    rounds: Annotated[int, typer.Option(help="Rounds; the ways take turns in each.", min=1)] = 3,
    compile_too: Annotated[bool, typer.Option(help="Also timm with --torchcompile.")] = False,
) -> None:
    """Prints a table and writes build/bench/finetune.json."""
    dataset = read_dataset(data)
    chosen = list(dataset.classes[:classes])
    workers = len(os.sched_getaffinity(0))
    load = _bench.load_average()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        lay_out(dataset, chosen, per_class, folder / "photos")
        ways: dict[str, tuple[str, ...]] = {"timm, its defaults": DEFAULTS, "timm, channels last, bfloat16": FASTEST}
        if compile_too:
            ways["timm, the same compiled"] = (*FASTEST, "--torchcompile")
        speeds: dict[str, list[float]] = {name: [] for name in (*ways, "Whippet")}
        for _ in range(rounds):
            for name, options in ways.items():
                speeds[name].append(
                    timm_speed(timm_train.resolve(), folder / "photos", backbone, len(chosen), batch, workers, options)
                )
            speeds["Whippet"].append(own_speed(folder / "photos", backbone, batch))
    report: dict[str, Any] = {
        "machine": _bench.machine(),
        "load_average": load,
        "versions": _bench.versions("torch", "timm", "pillow"),
        "backbone": backbone,
        "batch": batch,
        "photos": len(chosen) * per_class,
        "precision": str(precision("auto", torch.device("cuda" if torch.cuda.is_available() else "cpu"))),
        "images_per_second": {name: _bench.spread(values, 1) for name, values in speeds.items()},
        "ratio": {
            name: _bench.spread([ours / theirs for ours, theirs in zip(speeds["Whippet"], speeds[name], strict=True)])
            for name in ways
        },
    }
    if torch.cuda.is_available():
        report["gpu"] = torch.cuda.get_device_name()
        report |= peak_share(report["images_per_second"]["Whippet"]["median"], backbone)
    for name, values in report["images_per_second"].items():
        ratio = report["ratio"].get(name)
        told = f"   Whippet is {ratio['median']:.2f} times as fast" if ratio else ""
        sys.stdout.write(f"{name:32} {values['median']:7.1f} images/s  ({values['min']} to {values['max']}){told}\n")
    sys.stdout.write(f"{_bench.write_report('finetune', report)}\n")


if __name__ == "__main__":
    typer.run(main)
