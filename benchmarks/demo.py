"""Measures the demo: the whole line from photos to the Lambda's answers, several times, each with a cold feature cache.

Example: python benchmarks/demo.py --data ../shared/dogs
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import _bench

ROOT = Path(__file__).resolve().parent.parent
WHIPPET = Path(sys.executable).parent / "whippet"

#: Row in the table, where the figure stands in a run, and the bound it is held against (issue "The whole line").
FIGURES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("total, s", ("report", "total_seconds"), "<= 180"),
    ("training, s", ("report", "train", "seconds"), "<= 45"),
    ("terraform apply, s", ("report", "terraform", "apply_seconds"), ""),
    ("test top-1 through the Lambda", ("report", "predict", "top1"), ">= 0.90"),
    ("test top-1, photos the backbone has not seen", ("metrics", "test_clean", "top1"), ">= 0.86"),
    ("agreement with the trained model", ("report", "predict", "agreement"), ">= 0.99"),
    ("Lambda p50, ms", ("report", "predict", "p50_ms"), ""),
    ("Lambda p99, ms", ("report", "predict", "p99_ms"), ""),
)


def run_once(data: Path | None) -> dict[str, Any]:
    """One demo in its own local AWS with an empty cache, torn down afterwards.

    Returns:
        `report` as the demo wrote it, and `metrics` as training wrote them.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "WHIPPET_CACHE": cache, "WHIPPET_PORT": port}
        arguments = ["--data", str(data)] if data else []
        try:
            subprocess.run([WHIPPET, "demo", *arguments], env=environment, check=True)
            return {
                "report": json.loads((ROOT / "build/demo/report.json").read_text()),
                "metrics": json.loads((ROOT / "build/demo/run/metrics.json").read_text()),
            }
        finally:
            subprocess.run([WHIPPET, "destroy", "--env", "local"], env=environment, check=False)
            subprocess.run([WHIPPET, "local", "down"], env=environment, check=False)


def figure(run: dict[str, Any], path: tuple[str, ...]) -> float | None:
    """The figure at a path, or None where this data has none."""
    value: Any = run
    for key in path:
        value = value.get(key) if value else None
    return value


def main(
    data: Annotated[Path | None, typer.Option(help="A folder of photos.  [default: the sample set]")] = None,
    runs: Annotated[int, typer.Option(min=1, help="How often to run the demo.")] = 3,
) -> None:
    """Runs the demo several times and prints and writes the median and the spread of its figures."""
    load = _bench.load_average()
    done = [run_once(data) for _ in range(runs)]
    values = {name: [figure(run, path) for run in done] for name, path, _ in FIGURES}
    spreads = {name: _bench.spread(row) for name, row in values.items() if None not in row}
    table = Table("figure", "bound", "median", "min", "max", title=f"demo, {runs} runs, cold cache")
    for name, _, bound in FIGURES:
        if name in spreads:
            table.add_row(name, bound, *(f"{spreads[name][key]:g}" for key in ("median", "min", "max")))
    Console().print(table)
    report = {
        "figures": spreads,
        "plans": sorted({run["report"]["terraform"]["second_plan"] for run in done}),
        "data": data.name if data else "sample",
        "load_before": load,
        "machine": _bench.machine(),
        "versions": _bench.versions("whippet", "whippet-training", "whippet-serving", "torch", "openvino", "moto"),
    }
    Console().print(f"Written to {_bench.write_report('demo', report)}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
