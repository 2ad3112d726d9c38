"""Measures a search, from an empty cache to the final model, against the write-up's recipe doing the same trials.

The search is the command as people run it, `whippet tune`, in a process of its own with a cache of its own. The recipe
is that of the write-up (`hpo.py`): a frozen ResNet50 in eager PyTorch on the processor, batches of 32,
RandomResizedCrop, a DataLoader without workers, a head of 128 units, five epochs. Its images/s are measured here and
now; trials × epochs × training photos over them is what it would take. Its weights are random, which changes no time.

Its accuracy is measured with the search's own backbone, whose weights are at hand: the same recipe, but in its favour
with the backbone's own normalisation, BatchNorm as it was trained, and a learning rate of 0.001, the lowest
and best of what the write-ups searched. The frozen backbone runs in OpenVINO, which changes no feature.

Example: python benchmarks/tuning.py --data ../shared/dogs
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import torchvision
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.nn import functional
from torchvision import transforms

import _bench

EPOCHS, BATCH, HIDDEN, SIDE, LEARNING_RATE = 5, 32, 128, 224, 1e-3
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}

Pixels = npt.NDArray[np.uint8]


def photos(data: Path, split: str) -> list[tuple[Path, int]]:
    """The photos of a split with the numbers of their classes."""
    classes = sorted(path.name for path in (data / "train").iterdir() if path.is_dir())
    return [
        (path, number)
        for number, name in enumerate(classes)
        for path in sorted((data / split / name).glob("*"))
        if path.suffix.lower() in SUFFIXES
    ]


def search(data: Path, trials: int, arguments: Sequence[str]) -> dict[str, Any]:
    """Runs `whippet tune` with an empty cache.

    Returns:
        What it printed, with ``wall``, the seconds of the whole process, and ``processor``, those it had a core for:
        where they are far fewer than the cores could give, others used the machine.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "whippet_training.tune", str(data), "--trials", str(trials), *arguments]
        environment = {**os.environ, "WHIPPET_CACHE": str(Path(folder, "cache"))}
        began = time.perf_counter()
        done = subprocess.run(
            [*command, "--out", str(Path(folder, "run")), "--json"], env=environment, stdout=subprocess.PIPE, check=True
        )
        wall = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    result: dict[str, Any] = json.loads(done.stdout)
    return {**result, "wall": wall, "processor": used.ru_utime + used.ru_stime}


def recipe_speed(data: Path, steps: int) -> dict[str, Any]:
    """Trains with the recipe for some steps; the weights are random.

    Returns:
        Images per second, and how many steps were measured.
    """
    transform = transforms.Compose(
        [transforms.RandomResizedCrop(SIDE), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    )
    folder = torchvision.datasets.ImageFolder(str(data / "train"), transform)
    loader = torch.utils.data.DataLoader(folder, batch_size=BATCH, shuffle=True)
    model = torchvision.models.resnet50()
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = torch.nn.Sequential(
        torch.nn.Linear(2048, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, len(folder.classes))
    )
    optimiser = torch.optim.Adam(model.fc.parameters(), lr=LEARNING_RATE)
    model.train()
    seconds: list[float] = []
    began = time.perf_counter()
    for inputs, labels in loader:
        optimiser.zero_grad()
        functional.cross_entropy(model(inputs), labels).backward()
        optimiser.step()
        now = time.perf_counter()
        seconds.append(now - began)
        began = now
        if len(seconds) == steps + 1:
            break
    measured = seconds[1:]  # the first step pays for what is done once
    return {
        "images_per_second": BATCH * len(measured) / sum(measured),
        "steps": len(measured),
    }


def recipe_accuracy(data: Path, backbone_name: str, seed: int = 0) -> dict[str, float]:
    """Trains a head by the recipe on a backbone of ours.

    Returns:
        Parts of the test photos, and of those that are not in ImageNet where the data says which, that it classifies
        correctly.
    """
    from whippet_training.backbones import create_backbone
    from whippet_training.dataset import read_clean_files
    from whippet_training.engines import create_engine
    from whippet_training.source import open_source

    backbone = create_backbone(backbone_name)
    engine = create_engine("auto", backbone)
    side = backbone.preprocessing.crop
    lock = threading.Lock()

    def varied(path: Path, epoch: int, number: int) -> Pixels:
        with Image.open(path) as opened:
            photo = opened.convert("RGB")
        with lock:  # torchvision draws from the process's generator
            torch.manual_seed(seed + 1_000_003 * epoch + number)
            top, left, height, width = transforms.RandomResizedCrop.get_params(
                photo, scale=[0.08, 1.0], ratio=[3 / 4, 4 / 3]
            )
            mirrored = bool(torch.rand(1) < 0.5)
        pixels = np.asarray(
            photo.resize((side, side), Image.Resampling.BILINEAR, (left, top, left + width, top + height))
        )
        return pixels[:, ::-1] if mirrored else pixels

    def squashed(path: Path) -> Pixels:
        with Image.open(path) as opened:
            return np.asarray(opened.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))

    def features(views: int, count: int, prepare: Any) -> npt.NDArray[np.float32]:
        found = np.empty((count, views, backbone.width), np.float32)
        engine.run(count, prepare, lambda number, computed: found.__setitem__(number, computed))
        return found

    train, test = photos(data, "train"), photos(data, "test")
    learned = features(
        EPOCHS, len(train), lambda n: np.stack([varied(train[n][0], epoch, n) for epoch in range(EPOCHS)])
    )
    asked = features(1, len(test), lambda n: squashed(test[n][0])[np.newaxis])[:, 0]
    labels = torch.tensor([label for _, label in train])
    torch.manual_seed(seed)
    head = torch.nn.Sequential(
        torch.nn.Linear(backbone.width, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, int(labels.max()) + 1)
    )
    optimiser = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE)
    for epoch in range(EPOCHS):
        inputs = torch.from_numpy(learned[:, epoch])
        for batch in torch.randperm(len(labels)).split(BATCH):
            optimiser.zero_grad()
            functional.cross_entropy(head(inputs[batch]), labels[batch]).backward()
            optimiser.step()
    with torch.inference_mode():
        answers = head(torch.from_numpy(asked)).argmax(dim=1).numpy()
    right = answers == np.array([label for _, label in test])
    found = {"test": float(right.mean())}
    clean = read_clean_files(open_source(data))
    if clean is not None:
        chosen = np.array([path.relative_to(data).as_posix() in clean for path, _ in test])
        found["test_clean"] = float(right[chosen].mean())
    return found


def main(
    data: Annotated[Path, typer.Option(help="A folder of photos, SPLIT/CLASS/*.")],
    trials: Annotated[int, typer.Option(min=1, help="Of the search.")] = 20,
    steps: Annotated[int, typer.Option(min=1, help="Of the recipe, to measure its images/s.")] = 8,
    backbones: Annotated[str, typer.Option(help="For the search; by default, those of its own space.")] = "",
    space: Annotated[Path | None, typer.Option(help="Search space; by default, the search's own.")] = None,
) -> None:
    """Runs the search and the recipe, and prints and writes both."""
    load = _bench.load_average()
    arguments = [*(["--backbones", backbones] if backbones else []), *(["--space", str(space)] if space else [])]
    found = search(data, trials, arguments)
    phases = {**found["seconds"]}
    phases["start and end of the process"] = round(found["wall"] - sum(phases.values()), 3)
    console = Console()
    table = Table("phase of the search", "s", title=f"{trials} trials and the final model, cold cache")
    for name, seconds in phases.items():
        table.add_row(name, f"{seconds:.1f}")
    table.add_section()
    table.add_row("wall", f"{found['wall']:.1f}")
    table.add_row("on a core", f"{found['processor']:.1f}")
    console.print(table)
    final = found["final"]
    speed = recipe_speed(data, steps)
    images = len(photos(data, "train"))
    recipe_seconds = trials * EPOCHS * images / speed["images_per_second"]
    console.print(f"The recipe: {speed['images_per_second']:.1f} images/s; its accuracy takes another minute or two.")
    accuracy = recipe_accuracy(data, final["model"]["backbone"].split("+")[0])
    ours = {name: final[name]["top1"] for name in ("test", "test_clean") if final.get(name)}

    table = Table("figure", "search", f"recipe, {EPOCHS} epochs", "bound", title="against the write-up's recipe")
    table.add_row("seconds", f"{found['wall']:.1f}", f"{recipe_seconds:.0f}", "<= 60")
    table.add_row("times faster", f"{recipe_seconds / found['wall']:.0f}", "1", ">= 500")
    for name, title in (("test", "test top-1"), ("test_clean", "test top-1, photos not in ImageNet")):
        if name in ours:
            table.add_row(title, f"{ours[name]:.4f}", f"{accuracy[name]:.4f}", "higher")
    console.print(table)
    console.print(
        f"The recipe: {speed['images_per_second']:.1f} images/s over {speed['steps']} steps of {BATCH} "
        f"(ResNet50) × {trials} × {EPOCHS} × {images} photos. Its accuracy: with the backbone "
        f"{final['model']['backbone']} and 128 hidden units.",
        soft_wrap=True,
    )
    report = {
        "search": {
            "seconds": round(found["wall"], 2),
            "processor_seconds": round(found["processor"], 2),
            "phases": phases,
            "trials": found["trials"],
            "best": found["best"],
            **ours,
        },
        "recipe": {
            **speed,
            "seconds": round(recipe_seconds, 1),
            **accuracy,
            "backbone_of_accuracy": final["model"]["backbone"],
        },
        "ratio": round(recipe_seconds / found["wall"], 1),
        "data": data.name,
        "photos": images,
        "load_before": load,
        "machine": _bench.machine(),
        "versions": _bench.versions("whippet-training", "torch", "torchvision", "openvino", "optuna"),
    }
    console.print(f"Written to {_bench.write_report('tuning', report)}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
