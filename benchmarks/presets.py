"""Measures the presets: accuracy, calibration and time of a whole training, from a cold cache, each in a process.

Example: .venv/bin/python benchmarks/presets.py --data ../shared/dogs
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

import _bench

PRESETS = ("fast", "balanced", "best")


def train(data: Path, preset: str) -> dict[str, Any]:
    """Trains with a preset and an empty cache; returns its metrics.json, with the wall time of the process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "whippet_training.train", str(data), "--preset", preset]
        start = time.perf_counter()
        subprocess.run(
            [*command, "--out", f"{folder}/run", "--cache", f"{folder}/cache"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - start
        report: dict[str, Any] = json.loads(Path(folder, "run", "metrics.json").read_text())
        archive = Path(folder, "run", "model.tar.gz").stat().st_size
    return {**report, "wall_seconds": round(seconds, 1), "archive_megabytes": round(archive / 1e6, 1)}


def main(
    data: Annotated[Path, typer.Option(help="Photos as SPLIT/CLASS/*.")],
    presets: Annotated[list[str] | None, typer.Option("--preset", help="Repeat it; all by default.")] = None,
    rounds: Annotated[int, typer.Option(help="Trainings of each; their results are the same.", min=1)] = 1,
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
