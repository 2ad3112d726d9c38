"""Measures the presets: accuracy, calibration and time of a whole training, from a cold cache, each in a process.

A test split of some hundred photos leaves two points of doubt. ``--folds 5`` divides all photos anew into five parts,
by their content, and trains five times, each time on four parts: every photo is a test photo once, and the doubt falls
below a point.

Example: .venv/bin/python benchmarks/presets.py --data ../shared/dogs
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

import _bench
from whippet_training.dataset import read_clean_files, read_dataset

PRESETS = ("fast", "balanced", "best")


def train(data: Path, preset: str, cache: Path | None = None) -> dict[str, Any]:
    """Trains with a preset; returns its metrics.json, with the wall time of the process.

    Args:
        data: Photos as SPLIT/CLASS/*.
        preset: Its name.
        cache: Of features; None for one that is empty.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "whippet_training.train", str(data), "--preset", preset]
        start = time.perf_counter()
        subprocess.run(
            [*command, "--out", f"{folder}/run", "--cache", str(cache or f"{folder}/cache")],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - start
        report: dict[str, Any] = json.loads(Path(folder, "run", "metrics.json").read_text())
        archive = Path(folder, "run", "model.tar.gz").stat().st_size
    return {**report, "wall_seconds": round(seconds, 1), "archive_megabytes": round(archive / 1e6, 1)}


def cross_validate(data: Path, preset: str, folds: int) -> dict[str, Any]:
    """Trains once for each part of the photos, which is the test split then; a sixth of the others is for validation.

    Returns:
        Top-1 accuracy over all photos, and over those that are not in ImageNet where the folder says which, each with
        the number of photos and half the width of a 95 % interval.
    """
    dataset = read_dataset(data)
    photos = dataset.photos
    unseen = read_clean_files(dataset.source) or frozenset()
    parts = {photo.file: int(hashlib.sha256(photo.content).hexdigest(), 16) % (6 * folds) for photo in photos}
    right = {"all": 0.0, "clean": 0.0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for fold in range(folds):
            files = {photo.file: f"{_split(parts[photo.file], fold, folds)}/{photo.label}" for photo in photos}
            lay_out(data, files, unseen, folder / str(fold))
            report = train(folder / str(fold), preset, folder / "cache")
            for what, split in (("all", "test"), ("clean", "test_clean")):
                right[what] += report[split]["top1"] * report[split]["images"] if report.get(split) else 0.0
    return {
        what: {
            "top1": round(right[what] / count, 4),
            "half_width": round(_half_width(right[what], count), 4),
            "images": count,
        }
        for what, count in (("all", len(photos)), ("clean", len(unseen)))
        if count
    }


def _split(part: int, fold: int, folds: int) -> str:
    if part % folds == fold:
        return "test"
    return "valid" if part // folds == 0 else "train"


def _half_width(right: float, count: int) -> float:
    share = right / count
    return float(1.96 * (share * (1 - share) / count) ** 0.5)


def lay_out(data: Path, files: dict[str, str], unseen: frozenset[str], folder: Path) -> None:
    """Links photos under other splits, with a manifest of those that are not in ImageNet."""
    rows = ["file,imagenet_split"]
    for file, place in files.items():
        link = folder / place / file.replace("/", "-")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((data / file).resolve())
        rows.append(f"{link.relative_to(folder)},{'' if file in unseen else 'train'}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")


def main(
    data: Annotated[Path, typer.Option(help="Photos as SPLIT/CLASS/*.")],
    presets: Annotated[list[str] | None, typer.Option("--preset", help="Repeat it; all by default.")] = None,
    rounds: Annotated[int, typer.Option(help="Trainings of each; their results are the same.", min=1)] = 1,
    folds: Annotated[int, typer.Option(help="Also divide all photos anew, and test each once; 0 for not.", min=0)] = 0,
) -> None:
    """Prints a table and writes build/bench/presets.json."""
    load = _bench.load_average()
    rows: dict[str, Any] = {}
    for preset in presets or PRESETS:
        reports = [train(data, preset) for _ in range(rounds)]
        report = reports[0]
        rows[preset] = {
            "seconds": _bench.spread((one["wall_seconds"] for one in reports), 1),
            "archive_megabytes": report["archive_megabytes"],
            **{split: report[split] for split in ("valid", "test", "test_clean") if report.get(split)},
            "phases": report["seconds"],
        }
        for values in (rows[preset][split] for split in ("valid", "test") if split in rows[preset]):
            values.pop("per_class", None)
        parts = [
            f"{title} {report[split]['top1']:.3f} (error {report[split]['ece']:.3f})"
            for split, title in (("valid", "valid"), ("test", "test"), ("test_clean", "clean"))
            if report.get(split)
        ]
        sys.stdout.write(f"{preset:10} {rows[preset]['seconds']['median']:6.1f} s  {'  '.join(parts)}\n")
        if folds > 1:
            rows[preset]["cross_validated"] = crossed = cross_validate(data, preset, folds)
            told = (f"{what} {row['top1']:.3f} ± {row['half_width']:.3f}" for what, row in crossed.items())
            sys.stdout.write(f"{'':10} {folds} folds:  {'  '.join(told)}\n")
        sys.stdout.flush()
    written = _bench.write_report(
        "presets",
        {
            "machine": _bench.machine(),
            "load_average": load,
            "versions": _bench.versions("torch", "openvino", "timm", "pillow"),
            "presets": rows,
        },
    )
    sys.stdout.write(f"{written}\n")


if __name__ == "__main__":
    typer.run(main)
