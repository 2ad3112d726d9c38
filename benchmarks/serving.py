"""Measures this server against those that a user would pick instead: same weights, photos, callers and run.

The load is closed-loop: each of C callers sends its next photo as soon as its last is answered. All servers are up for
the whole run and take turns within each round, so that what else happens on the machine meets all of them. Every peer
runs in the best of the configurations that its documentation names, found by a short search before.

Example: python benchmarks/serving.py --model build/model.tar.gz --data ../shared/dogs/test
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import tarfile
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import openvino
import typer
import uvloop
from rich import box
from rich.console import Console
from rich.table import Column, Table

import _bench
from _load import BenchmarkError, Side, apply_load, read_photos, top1_classes
from peers import aws, ceiling, lit, torchserve, whippet
from peers.process import ROOT, resident_mb

CONCURRENCIES = (1, 8, 64)
MIN_AGREEMENT, MIN_ROUGH_AGREEMENT = 0.99, 0.95
"""With this server's first answers, in float32 and in bfloat16, which gives one photo in a hundred or so another."""
SEARCH_S = 3.0
OURS, OURS_EXACT = "whippet_serving", "whippet_serving, float32"
RAW, RAW_ROUGH = "raw loop", "raw loop, bfloat16"

console = Console(width=None if sys.stdout.isatty() else 120)  # a file or a log has no width of its own


class Peers(StrEnum):
    """What the server can be measured against."""

    TORCHSERVE = "torchserve"
    AWS = "aws"
    LITSERVE_TORCH = "litserve-torch"
    LITSERVE_OPENVINO = "litserve-openvino"
    LITSERVE_BFLOAT16 = "litserve-bfloat16"
    CEILING = "ceiling"


@dataclass(frozen=True)
class Peer:
    """A server with the configurations to try."""

    name: str
    prepare: Callable[[], Path]
    serve: Callable[..., AbstractContextManager[Side]]
    trials: Callable[[], list[dict[str, Any]]]
    packages: tuple[str, ...]


LIT_TORCH, LIT_OPENVINO = "LitServe, PyTorch", "LitServe, OpenVINO"
LIT_ROUGH = "LitServe, OpenVINO, bfloat16"
PEERS = {
    Peers.TORCHSERVE: Peer(
        torchserve.NAME, torchserve.prepare, torchserve.serve, torchserve.trials, torchserve.PACKAGES
    ),
    Peers.AWS: Peer(aws.NAME, aws.prepare, aws.serve, aws.trials, aws.PACKAGES),
    Peers.LITSERVE_TORCH: Peer(
        LIT_TORCH,
        lit.prepare,
        partial(lit.serve, LIT_TORCH),
        lambda: lit.trials("compile", "compile-bfloat16", "script"),
        lit.PACKAGES,
    ),
    Peers.LITSERVE_OPENVINO: Peer(
        LIT_OPENVINO, lit.prepare, partial(lit.serve, LIT_OPENVINO), lambda: lit.trials("openvino"), lit.PACKAGES
    ),
    Peers.LITSERVE_BFLOAT16: Peer(
        LIT_ROUGH, lit.prepare, partial(lit.serve, LIT_ROUGH), lambda: lit.trials("openvino-bfloat16"), lit.PACKAGES
    ),
}


def unpack(model: Path, folder: Path) -> Path:
    """Unpack a model archive.

    Raises:
        BenchmarkError: If there is none, or it is without TorchScript or OpenVINO weights.
    """
    try:
        with tarfile.open(model) as archive:
            archive.extractall(folder, filter="data")
        for file in folder.rglob("*"):
            os.utime(file)  # reproducible archives date from 1970, which the .mar file's zip cannot express
        weights = json.loads((folder / "model.json").read_text())["weights"]
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        raise BenchmarkError(f"{model} cannot be read ({error}): train one first, or name it with --model.") from error
    if missing := {"torchscript", "openvino"} - set(weights):
        raise BenchmarkError(f"{model} holds no {' and no '.join(sorted(missing))} weights, which the peers need.")
    return folder


class Raw(NamedTuple):
    """What a raw loop is measured with.

    Attributes:
        loops: Photos on all cores.
        one_at_a_time: A photo on all cores.
    """

    loops: ceiling.Loops
    one_at_a_time: ceiling.Loops


def raws_of(ours: Collection[str]) -> dict[str, str]:
    """The raw loops, each with the server that it is the ceiling of: the one that computes in the same precision."""
    return {RAW_ROUGH: OURS, RAW: OURS_EXACT} if OURS_EXACT in ours else {RAW: OURS}


def choose(peer: Peer, commands: Path, model: Path, work: Path, photos: Sequence[bytes]) -> dict[str, Any]:
    """Try a peer's configurations, and return the one that answers most at 8 callers.

    Raises:
        BenchmarkError: If none of them answers.
    """
    rates = []
    for number, settings in enumerate(trials := peer.trials()):
        told = ", ".join(f"{key} {value}" for key, value in settings.items())
        try:
            with peer.serve(commands, model, work / f"trial-{number}", **settings) as side:
                rates.append(uvloop.run(apply_load(side.url, photos, 8, SEARCH_S)).figures()["rps"])
            console.print(f"{peer.name}, {told}: {rates[-1]:.1f} requests/s")
        except BenchmarkError as error:
            rates.append(0.0)
            console.print(f"{told}: {error}")
    if not any(rates):
        raise BenchmarkError(f"{peer.name} answers in none of its configurations.")
    return trials[rates.index(max(rates))]


def measure(
    sides: Sequence[Side], photos: Sequence[bytes], seconds: float, rounds: int, raws: dict[str, Raw], instant: str
) -> tuple[dict[str, dict[int, list[dict[str, float]]]], dict[str, list[dict[str, float]]]]:
    """Load each side in turn, in every round at every concurrency, and then the raw loops at their servers' rates.

    Args:
        sides: The servers.
        photos: Are sent to each.
        seconds: How long each load lasts.
        rounds: How often each side takes its turn.
        raws: The raw loops by their names.
        instant: The server that answers at once.

    Returns:
        Per side and concurrency the figures of each round; and those of each raw loop with one photo at a time,
        measured right after its server with one caller.
    """
    raw_of = raws_of([side.name for side in sides])
    alone: dict[str, list[dict[str, float]]] = {name: [] for name in raws}
    figures: dict[str, dict[int, list[dict[str, float]]]] = {
        name: {concurrency: [] for concurrency in CONCURRENCIES} for name in [*(side.name for side in sides), *raws]
    }
    for round_ in range(rounds):
        for concurrency in CONCURRENCIES:
            for side in sides if round_ % 2 == 0 else reversed(sides):
                load = uvloop.run(apply_load(side.url, photos, concurrency, seconds))
                figures[side.name][concurrency].append({**load.figures(), "memory_mb": resident_mb(side.pid)})
                rate = load.figures()["rps"]
                console.print(f"round {round_ + 1}, {concurrency} callers, {side.name}: {rate:.1f} requests/s")
                for name, raw in raws.items():
                    if raw_of[name] == side.name and concurrency == 1:
                        alone[name].append(ceiling.measure_alone(raw.one_at_a_time, seconds).figures())
            for name, raw in raws.items():
                rate = figures[raw_of[name]][concurrency][-1]["rps"]
                load = ceiling.measure(raw.loops, instant, photos, concurrency, seconds, rate)
                figures[name][concurrency].append(load.figures())
                rate = load.figures()["rps"]
                console.print(f"round {round_ + 1}, {concurrency} callers, {name}: {rate:.1f} photos/s")
    return figures, alone


def summarise(figures: dict[str, dict[int, list[dict[str, float]]]]) -> dict[str, Any]:
    """Per side and concurrency the spread of every figure over the rounds; errors are their sum.

    ``ratio`` is this server's throughput over that of the side, of the same round: as it comes, and in float32.
    """
    raw_of = raws_of(figures)
    summary: dict[str, Any] = {}
    for name, per_concurrency in figures.items():
        summary[name] = {}
        for concurrency, rounds in per_concurrency.items():
            row = {key: _bench.spread(figure[key] for figure in rounds) for key in rounds[0] if key != "errors"}
            row["ratio"] = {}
            for ours in (OURS, OURS_EXACT):
                if ours in figures and name != ours and raw_of.get(name, ours) == ours:
                    pairs = zip(figures[ours][concurrency], rounds, strict=True)
                    ratios = [one["rps"] / theirs["rps"] for one, theirs in pairs if theirs["rps"]]
                    row["ratio"][ours] = _bench.spread(ratios) if ratios else {}
            row["errors"] = int(sum(figure["errors"] for figure in rounds))
            summary[name][str(concurrency)] = row
    return summary


HEADINGS = (
    "server",
    "callers",
    "req/s",
    "min-max",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "MB",
    "errors",
    "ours is",
    "in float32",
)


def rows(figures: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Medians, with the extremes of the throughput, as text."""
    for name, per_concurrency in figures.items():
        for concurrency, row in per_concurrency.items():
            rps = row["rps"]
            yield (
                *(name, concurrency, f"{rps['median']:.1f}", f"{rps['min']:.0f}-{rps['max']:.0f}"),
                *(f"{row[key]['median']:.1f}" for key in ("p50_ms", "p95_ms", "p99_ms")),
                f"{row['memory_mb']['median']:.0f}" if "memory_mb" in row else "",
                str(row["errors"]),
                *(_times(row["ratio"].get(ours)) for ours in (OURS, OURS_EXACT)),
            )


def _times(ratio: dict[str, Any] | None) -> str:
    return f"{ratio['median']:.2f} x" if ratio else ""


def print_table(figures: dict[str, Any]) -> None:
    """Print the rows."""
    table = Table(Column(HEADINGS[0], no_wrap=True), box=box.SIMPLE, pad_edge=False)
    for heading in HEADINGS[1:]:
        table.add_column(heading, justify="right")
    for row in rows(figures):
        table.add_row(*row)
    console.print(table)


def markdown(report: dict[str, Any]) -> str:
    """The table of docs/performance.md with what it was measured on."""
    load = report["load"]
    raw_of = raws_of(report["figures"])
    settings = [
        f"- {name}: " + ", ".join(f"{key} {'as it comes' if value is None else value}" for key, value in best.items())
        for name, best in report["settings"].items()
    ]
    latencies = [
        f"One photo at a time, the {name} takes {latency['p50_ms']['median']:.1f} ms (median; "
        f"{latency['p50_ms']['min']:.1f}-{latency['p50_ms']['max']:.1f} over the rounds), {raw_of[name]} "
        f"{report['figures'][raw_of[name]][str(CONCURRENCIES[0])]['p50_ms']['median']:.1f} ms: "
        f"{latency['ratio']['median']:.2f} x ({latency['ratio']['min']:.2f}-{latency['ratio']['max']:.2f})."
        for name, latency in report["raw_latency"].items()
    ]
    return "\n".join(
        [
            _bench.markdown_table(HEADINGS, rows(report["figures"])),
            "",
            *(latencies or ["Without the raw loop."]),
            "",
            f"Model: {report['model']['backbone']}. "
            f"Photos: {report['photos']['number']} of {report['photos']['mean_bytes'] // 1000} kB on average. "
            f"Load: {load['rounds']} rounds of {load['seconds']:g} s each, whose callers took "
            f"{load['generator_cores']:.2f} cores at most. "
            f"The servers agreed on {report['top1_agreement']:.1%} of the photos or more.",
            "",
            "The best of the configurations that were tried:",
            "",
            *settings,
            "",
            _bench.told(report["machine"], report["load_average_before"], report["versions"]),
        ]
    )


def raw_loop(stack: ExitStack, model: Path, photos: Path, name: str, precision: str) -> tuple[Raw, dict[str, str]]:
    """Start a raw loop, in threads or processes, whichever is faster; returns it and which that is."""
    rates = {}
    for kind in ("threads", "processes"):
        with ceiling.loops(model, photos, kind, precision) as trial:
            rates[kind] = ceiling.measure_alone(trial, SEARCH_S).figures()["rps"]
        console.print(f"{name}, {kind}: {rates[kind]:.1f} photos/s")
    best = max(rates, key=rates.__getitem__)
    loops, one = (stack.enter_context(ceiling.loops(model, photos, kind, precision)) for kind in (best, ceiling.ONE))
    return Raw(loops, one), {"in": best}


def run(
    model: Path, photos: list[bytes], seconds: float, rounds: int, without: set[Peers]
) -> tuple[Path, dict[str, Any]]:
    """Measure all sides and write the report.

    Raises:
        BenchmarkError: If a side cannot be run, or they disagree about the photos.
    """
    load_before = _bench.load_average()
    has_bfloat16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    left_out = without if has_bfloat16 else {*without, Peers.LITSERVE_BFLOAT16}
    peers = [peer for key, peer in PEERS.items() if key not in left_out]
    commands = {peer.name: peer.prepare() for peer in peers}
    with ExitStack() as stack:
        work = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="whippet-bench-", ignore_cleanup_errors=True))
        )
        folder = unpack(model, work / "model")
        (work / "photos").mkdir()
        for number, photo in enumerate(photos):
            (work / "photos" / f"{number:06}.jpg").write_bytes(photo)
        settings = {
            peer.name: choose(peer, commands[peer.name], folder, work / f"{number}", photos)
            for number, peer in enumerate(peers)
        }
        document = json.loads((folder / "model.json").read_text())
        ours = {OURS: "auto"} | ({OURS_EXACT: "float32"} if has_bfloat16 else {})
        raws, instant = {}, ""
        if Peers.CEILING not in without:
            instant = stack.enter_context(ceiling.instant_server(work / "instant"))
            for name in raws_of(ours):
                precision = "bfloat16" if name == RAW_ROUGH else "float32"
                raws[name], settings[name] = raw_loop(stack, folder, work / "photos", name, precision)
        sides = [
            stack.enter_context(whippet.serve(model, work / name, name, "--precision", precision))
            for name, precision in ours.items()
        ]
        for number, peer in enumerate(peers):
            serving = peer.serve(commands[peer.name], folder, work / f"{number}" / "best", **settings[peer.name])
            sides.append(stack.enter_context(serving))
        answers = {side.name: uvloop.run(top1_classes(side, photos)) for side in sides}
        agreement = {name: statistics.mean(map(str.__eq__, answers[OURS], theirs)) for name, theirs in answers.items()}
        engines = {name: best.get("engine", "") for name, best in settings.items()}
        for name, share in agreement.items():
            is_rough = engines.get(name, "").endswith("bfloat16")
            if share < (MIN_ROUGH_AGREEMENT if is_rough else MIN_AGREEMENT):
                raise BenchmarkError(
                    f"{name} agrees on {share:.1%} of the photos only: the servers do not do the same work."
                )
        figures, alone = measure(sides, photos, seconds, rounds, raws, instant)
    raw_latency = {
        name: {
            "p50_ms": _bench.spread(figure["p50_ms"] for figure in each),
            "ratio": _bench.spread(
                one["p50_ms"] / other["p50_ms"]
                for one, other in zip(figures[raws_of(figures)[name]][1], each, strict=True)
            ),
        }
        for name, each in alone.items()
    }
    report = {
        "figures": summarise(figures),
        "raw_latency": raw_latency,
        "top1_agreement": min(agreement.values()),
        "model": {key: document[key] for key in ("id", "name", "backbone")},
        "photos": {"number": len(photos), "mean_bytes": round(sum(map(len, photos)) / len(photos))},
        "settings": settings,
        "load": {
            "seconds": seconds,
            "rounds": rounds,
            "generator": "aiohttp on uvloop",
            "closed_loop": True,
            "generator_cores": max(
                figure["generator_cores"] for side in figures.values() for each in side.values() for figure in each
            ),
        },
        "load_average_before": load_before,
        "machine": _bench.machine(),
        "versions": {
            **_bench.versions("whippet-serving", "openvino", "uvicorn", "starlette", "pillow", "numpy"),
            **_bench.versions("torch", "torchvision", "timm", "aiohttp", "uvloop"),
            **dict(package.split("==") for peer in peers for package in peer.packages if "==" in package),
        },
    }
    return _bench.write_report("serving", report), report


def main(
    model: Annotated[Path, typer.Option(help="The model.tar.gz that all sides serve.")] = Path("build/model.tar.gz"),
    data: Annotated[Path | None, typer.Option(help="A folder of photos; without it, some are drawn.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each load lasts.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="How often each side takes its turn.")] = 3,
    photo_count: Annotated[int, typer.Option("--photos", min=1, help="How many photos the callers send.")] = 64,
    without: Annotated[list[Peers] | None, typer.Option(help="Leave a peer out; may be repeated.")] = None,
    docs: Annotated[bool, typer.Option(help="Write the table to docs/performance.md.")] = False,
) -> None:
    """Measure this server against others and write build/bench/serving.json."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through the contexts that end the servers
    try:
        path, report = run(model, read_photos(data, photo_count), seconds, rounds, set(without or ()))
        print_table(report["figures"])
        if docs:
            _bench.write_docs("serving", markdown(report))
    except BenchmarkError as error:
        sys.exit(f"benchmarks/serving.py: {error}")
    console.print(f"Wrote {path.relative_to(ROOT)}" + (" and docs/performance.md" if docs else ""))


if __name__ == "__main__":
    typer.run(main)
