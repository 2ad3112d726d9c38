"""What every benchmark shares: the machine it ran on, the versions it ran, medians with their spread, one JSON file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BENCH_DIR = ROOT / "build" / "bench"
DOCS = ROOT / "docs" / "performance.md"


def machine() -> dict[str, Any]:
    """Describe the hardware and the interpreter; no host name, user or path, so that reports can be published."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    """Name the CPU; Linux tells it in /proc/cpuinfo only (``platform.processor`` is empty or just the architecture)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def load_average() -> float:
    """Runnable processes over the last minute, measured before a run: well above zero means a noisy machine."""
    return round(os.getloadavg()[0], 2)


def versions(*packages: str) -> dict[str, str]:
    """Map each distribution to the version installed in this environment.

    Raises:
        importlib.metadata.PackageNotFoundError: If one is not installed.
    """
    return {package: metadata.version(package) for package in packages}


def spread(values: Iterable[float], digits: int = 3) -> dict[str, Any]:
    """Summarise one figure over its rounds: median, extremes and how many rounds there were.

    Raises:
        statistics.StatisticsError: If there are no values.
    """
    rounds = list(values)
    return {
        "median": round(statistics.median(rounds), digits),
        "min": round(min(rounds, default=0.0), digits),
        "max": round(max(rounds, default=0.0), digits),
        "rounds": len(rounds),
    }


def percentile(values: Sequence[float], q: float) -> float:
    """Return the q-th percentile (0..100) by nearest rank, so that it is always a value that was measured.

    Raises:
        ValueError: If there are no values.
    """
    if not values:
        raise ValueError("no values to take a percentile of")
    rank = max(1, -(-len(values) * q // 100))
    return sorted(values)[int(rank) - 1]


def write_report(name: str, report: Mapping[str, Any]) -> Path:
    """Write ``build/bench/NAME.json`` in one step: a benchmark that is cut off leaves the previous file whole."""
    BENCH_DIR.mkdir(parents=True, exist_ok=True)
    path = BENCH_DIR / f"{name}.json"
    with tempfile.NamedTemporaryFile("w", dir=BENCH_DIR, prefix=f".{name}-", suffix=".json", delete=False) as file:
        temporary = Path(file.name)
        try:
            json.dump(report, file, indent=2)
            file.write("\n")
            file.flush()
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return path


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text and whose other columns are figures."""
    lines = [headings, ["---", *("---:" for _ in headings[1:])], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def told(machine: Mapping[str, Any], load_before: float, versions: Mapping[str, str]) -> str:
    """What a table was measured on, in two sentences."""
    return (
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, "
        f"Python {machine['python']}; load average before the run {load_before}. "
        f"Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}."
    )


def write_docs(benchmark: str, text: str) -> None:
    """Put a text between the marks of a benchmark in docs/performance.md, in one step.

    Raises:
        ValueError: If the marks are not there.
    """
    begin, end = f"<!-- benchmarks/{benchmark}.py writes this -->", "<!-- end -->"
    before, mark, rest = DOCS.read_text().partition(begin)
    _, end_mark, after = rest.partition(end)
    if not mark or not end_mark:
        raise ValueError(f"docs/performance.md needs the lines {begin} and {end}, in this order")
    temporary = DOCS.with_suffix(".md.tmp")
    temporary.write_text(f"{before}{begin}\n{text}\n{end}{after}")
    temporary.replace(DOCS)
