"""Searches hyperparameters: ``python -m whippet_training.tune DIR``.

Features are computed once, up front, and shared by all trials. The test split is measured once, by the final training
with the best values.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import platformdirs
import typer
import yaml
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from whippet_training import __version__
from whippet_training.console import RESUMABLE, exit_on_sigterm, failures_told, program, stderr
from whippet_training.errors import TrainingError
from whippet_training.search_space import Space, read_space
from whippet_training.source import address, place

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from whippet_training.run import Stopwatch
    from whippet_training.settings import Settings

OBJECTIVE = "mean cross-entropy per validation photo"

SAGEMAKER_OBJECTIVE = {
    "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "valid:loss"},
    "MetricDefinitions": [{"Name": "valid:loss", "Regex": r"^valid .* loss +([0-9.]+)"}],
}
"""The same of the line that training ends with (train.summary)."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"max_content_width": 100})


@dataclass(frozen=True)
class Request:
    """What a person asks for.

    Attributes:
        data: Folder of photos.
        space: What is searched.
        trials: How many there are to be, earlier runs' included.
        seconds: After which no trial goes on; None for no limit.
        pruner: One of search.PRUNERS.
        seed: Of every draw.
        engine: Computes the features.
        allow_leakage: Search although a picture lies in two splits.
        storage: Address of the database; None is a file in the run folder.
        study: Name of the search in it.
    """

    data: Path
    space: Space
    trials: int
    seconds: float | None
    pruner: str
    seed: int
    engine: str
    allow_leakage: bool
    storage: str | None
    study: str

    def run_name(self) -> str:
        """Names the run folder: another data folder, space, pruner or seed is another search."""
        decides = [place(self.data), self.space.document(), self.pruner, self.seed]
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        return f"{self.data.resolve().name}-search-{digest[:8]}"


@app.command(epilog="Example: whippet tune photos --trials 40 --backbones tf_efficientnet_lite0,tf_efficientnet_lite2")
def main(
    data: Annotated[
        Path, typer.Argument(metavar="DIR", help="Photos as SPLIT/CLASS/*.jpg or CLASS/*.jpg.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run folder.  [default: build/runs/ID of data and space]")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="In all; a search that was ended goes on.")] = 20,
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="After which no trial goes on.")
    ] = None,
    backbones: Annotated[
        list[str] | None,
        typer.Option("--backbones", "--backbone", help="timm names to choose from: a,b or given repeatedly."),
    ] = None,
    space: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML that replaces lines of the search space.")
    ] = None,
    pruner: Annotated[str, typer.Option(help="Gives weak trials up early: median, hyperband or none.")] = "median",
    seed: Annotated[int, typer.Option(min=0, help="Of every random draw.")] = 0,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Database that keeps the trials.  [default: search.db in the run folder]"),
    ] = None,
    study: Annotated[str, typer.Option(metavar="NAME", help="Of the search in a database of several.")] = "whippet",
    engine: Annotated[str, typer.Option(help="Computes the features: openvino, torch or auto.")] = "auto",
    allow_leakage: Annotated[bool, typer.Option(help="Search although a picture lies in two splits.")] = False,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", envvar="WHIPPET_CACHE", help="Keeps features.  [default: the user's cache folder]"),
    ] = None,
    sagemaker_ranges: Annotated[
        bool, typer.Option(help="Print the space for a SageMaker tuning job as JSON, and end.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the best values and where the files are.")] = False,
) -> None:
    """Searches the hyperparameters that suit a folder of photos, and trains with the best."""
    exit_on_sigterm(RESUMABLE)
    with failures_told():
        named = [name for given in backbones or () for name in given.split(",") if name]
        request = Request(
            data, read_space(space, named), trials, timeout, pruner, seed, engine, allow_leakage, storage, study
        )
        folder = out or Path("build", "runs", request.run_name())
        if sagemaker_ranges:
            sys.stdout.write(json.dumps(_for_sagemaker(request, folder), indent=2) + "\n")
            return
        if not as_json and stderr.is_terminal:
            stderr.print("loading PyTorch", end="\r")
        result = tune(request, folder, cache or Path(platformdirs.user_cache_dir("whippet")))
    sys.stdout.write((json.dumps(result, indent=2) if as_json else _summary(result)) + "\n")


def tune(request: Request, folder: Path, cache: Path) -> dict[str, Any]:
    """Searches, trains with the best values, and writes both down.

    Args:
        request: What to search.
        folder: Run folder; a search in it is gone on with.
        cache: Folder that keeps features.

    Returns:
        The best trial, the final training's report, where the files are, and seconds by phase.

    Raises:
        TrainingError: If the data cannot be trained on, the folder or storage holds something else, or no trial came to
            its end.
    """
    from whippet_training import search_report
    from whippet_training.run import Stopwatch
    from whippet_training.train import train_into_run_folder

    watch = Stopwatch(time.perf_counter)
    found = find(request, folder, cache, watch)
    _write(folder / "best.yaml", _best_yaml(found, request))
    _write(folder / "best.tfvars.json", _best_tfvars(found, request))
    with watch.phase("final training"):
        final = train_into_run_folder(request.data, found.settings, cache, folder / "final")
    with watch.phase("report"):
        report = search_report.Search(
            request.data.resolve().name, request.space, found.trials, _facts(found, request, final)
        )
        _write(folder / "trials.csv", search_report.csv_table(report))
        _write(folder / "search.html", search_report.page(report))
        with _replaced(folder / "search.png") as picture:
            search_report.picture(report).savefig(picture, dpi=110)
    return {
        "run": str(folder),
        "storage": found.storage,
        "best": {"trial": found.number, "valid_loss": found.loss, "hyperparameters": found.hyperparameters},
        "trials": found.states,
        "seconds": watch.seconds,
        "final": final,
    }


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        trials: In order.
        number: Of the best trial.
        loss: Of the best trial.
        hyperparameters: Of the best trial, by the flags' names.
        settings: The same for a training.
        data: Fingerprint of the photos.
        storage: Where the trials are kept.
    """

    trials: Sequence[FrozenTrial]
    number: int
    loss: float
    hyperparameters: dict[str, Any]
    settings: Settings
    data: str
    storage: str

    @property
    def states(self) -> dict[str, int]:
        """How many trials ended how."""
        return dict(Counter(trial.state.name.lower() for trial in self.trials))


def find(request: Request, folder: Path, cache: Path, watch: Stopwatch) -> Found:
    """Searches; looks at no test photo's class.

    Args:
        request: What to search.
        folder: Run folder; a search in it is gone on with.
        cache: Folder that keeps features.
        watch: Measures the phases.

    Raises:
        TrainingError: See tune.
    """
    from whippet_training import search
    from whippet_training.preparation import read_trainable, report_skipped
    from whippet_training.search_objective import HeadObjective, extract_space
    from whippet_training.search_record import StudyRecord

    space, seed = request.space, request.seed
    if request.pruner not in search.PRUNERS:
        raise TrainingError(f"There is no pruner {request.pruner}; choose {', '.join(search.PRUNERS)}.")
    with watch.phase("scan"):
        dataset = read_trainable(request.data, request.allow_leakage)
        data = dataset.fingerprint()
    with watch.phase("storage"):
        _own_folder(folder)
        identity = {"data": data, "space": space.document(), "pruner": request.pruner, "seed": seed}
        record = StudyRecord(request.storage or f"sqlite:///{folder / 'search.db'}", request.study, identity)
    with watch.phase("features"):
        prepared = extract_space(dataset, space, request.engine, cache, request.allow_leakage)
        report_skipped({file: reason for one in prepared.values() for file, reason in one.skipped.items()})
    with (
        watch.phase("trials"),
        _one_thread_each(),
        _told_interrupted(),
        _progress(request.trials) as tell,
    ):
        plan = search.Plan(space, seed, request.pruner, max(map(int, space.values("epochs"))))
        objective = HeadObjective(prepared, space, seed)
        threads = os.cpu_count() or 1
        trials = search.search(objective, plan, record, request.trials, threads, request.seconds, tell)
    number = search.best_of(trials)
    best = trials[number]
    return Found(
        trials=trials,
        number=number,
        loss=best.value or 0.0,
        hyperparameters={name.replace("_", "-"): value for name, value in space.hyperparameters(best.params).items()},
        settings=space.settings(best.params, seed=seed, engine=request.engine, allow_leakage=request.allow_leakage),
        data=data,
        storage=record.place,
    )


def _for_sagemaker(request: Request, folder: Path) -> dict[str, Any]:
    """What a tuning job needs to search the same: parts of CreateHyperParameterTuningJob, and what was asked for."""
    ranges = request.space.sagemaker_ranges()
    return {
        "ParameterRanges": ranges["ParameterRanges"],
        "StaticHyperParameters": {**ranges["StaticHyperParameters"], "seed": str(request.seed)},
        **SAGEMAKER_OBJECTIVE,
        "MaxNumberOfTrainingJobs": request.trials,
        "RandomSeed": request.seed,
        "MaxRuntimeInSeconds": request.seconds,
        "Data": address(request.data),
        "Run": str(folder),
    }


def _own_folder(folder: Path) -> None:
    """Makes the run folder.

    Raises:
        TrainingError: If something that is not a search's is in the way.
    """
    own = {"search.db", "best.yaml", "trials.csv"}
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if (folder.exists() and not folder.is_dir()) or (names and not names & own):
        raise TrainingError(f"{folder} is not empty and not a search's run folder; pass another --out.")
    folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Lets each trial compute in one thread: no sum's order depends on the number of cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _told_interrupted() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        stderr.print("The trials that have ended are kept; the same command goes on where it was.")
        raise


@contextmanager
def _progress(total: int) -> Iterator[Callable[[FrozenTrial, int], None]]:
    """Shows a progress bar with the best so far on a terminal; yields the function that takes each trial."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    best: list[tuple[float, int]] = []
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("trials", total=total)

        def tell(trial: FrozenTrial, number: int) -> None:
            if trial.state.name == "COMPLETE" and trial.value is not None:
                best.append((trial.value, number))
            told = f"trials, best {min(best)[0]:.4f} (trial {min(best)[1]})" if best else "trials"
            bar.update(task, description=told, completed=number + 1)

        yield tell


def _best_yaml(found: Found, request: Request) -> str:
    lines = yaml.safe_dump(found.hyperparameters, sort_keys=False)
    return (
        f"# Trial {found.number} of {len(found.trials)} on {request.data.resolve().name} (seed {request.seed}): "
        f"{found.loss:.4f} nats {OBJECTIVE}.\n"
        f"# Photos {found.data}\n# Train with it:  whippet train DIR --hyperparameters FILE\n{lines}"
    )


def _best_tfvars(found: Found, request: Request) -> str:
    """The fixed values for the training instance: ``terraform apply -var-file=best.tfvars.json``."""
    values = {name: str(value) for name, value in {**found.hyperparameters, "seed": request.seed}.items()}
    return json.dumps({"training_hyperparameters": values}, indent=2) + "\n"


def _facts(found: Found, request: Request, final: Mapping[str, Any]) -> dict[str, str]:
    """What the report says above the table."""
    states = ", ".join(f"{count} {state}" for state, count in found.states.items())
    images = ", ".join(f"{count} {name}" for name, count in final["data"]["images"].items())
    return {
        "Objective": f"{OBJECTIVE}, in nats",
        "Trials": f"{states}; seed {request.seed}, pruner {request.pruner}",
        "Best": f"trial {found.number}: {found.loss:.4f}",
        "Final model": _told_metrics(final),
        "Photos": f"{images}; {final['data']['classes']} classes",
        "Data": found.data,
        "Whippet": f"{__version__}, with Optuna {_version('optuna')}, PyTorch {_version('torch')}",
    }


def _told_metrics(report: Mapping[str, Any]) -> str:
    titles = {"valid": "validation", "test": "test", "test_clean": "test photos not in ImageNet"}
    told = [f"{title} top-1 {report[name]['top1']:.2%}" for name, title in titles.items() if report.get(name)]
    return ", ".join(told)


def _summary(result: Mapping[str, Any]) -> str:
    best, final = result["best"], result["final"]
    values = "  ".join(f"{name} {value}" for name, value in best["hyperparameters"].items())
    states = ", ".join(f"{count} {state}" for state, count in result["trials"].items())
    seconds = "  ".join(f"{name} {value:.1f}" for name, value in result["seconds"].items())
    return "\n".join(
        (
            f"{'best':22} trial {best['trial']}, {OBJECTIVE} {best['valid_loss']:.4f}",
            f"{'':22} {values}",
            f"{'final model':22} {_told_metrics(final)}",
            f"{'trials':22} {states}",
            f"{'seconds':22} {seconds}",
            f"{'hyperparameters':22} {Path(result['run'], 'best.yaml')}",
            f"{'report':22} {Path(result['run'], 'search.html')}",
            f"{'model ' + final['model']['id']:22} {final['archive']}",
        )
    )


def _version(package: str) -> str:
    return importlib.metadata.version(package)


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Yields a new file that takes the path's place once it is whole."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        new = Path(folder, path.name)
        yield new
        new.replace(path)


def _write(path: Path, text: str) -> None:
    with _replaced(path) as new:
        new.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    app(prog_name=program("python -m whippet_training.tune"))
