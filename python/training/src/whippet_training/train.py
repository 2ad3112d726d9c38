"""The training entry point: ``python -m whippet_training.train DIR``, and a SageMaker training job's program.

In a SageMaker job the data folder comes from SM_CHANNEL_TRAINING, hyperparameters come as flags, the archive's content
goes to SM_MODEL_DIR unpacked (SageMaker packs it itself), the report to SM_OUTPUT_DATA_DIR, and the reason of a failure
to the file SageMaker shows: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-output.html
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import platformdirs
import typer

from whippet_training.console import INTERRUPTED, RESUMABLE, exit_on_sigterm, fail, interrupted, program, stderr
from whippet_training.errors import Interrupted, TrainingError
from whippet_training.finetuning import FineTuning
from whippet_training.flags import with_flags_of
from whippet_training.settings import DEFAULT_PRESET, Settings, merge_defaults
from whippet_training.source import place

FitOn = Literal["train", "train+valid"]

if TYPE_CHECKING:
    from whippet_training.distributed import Group
    from whippet_training.watching import Watching

ARCHIVE = "model.tar.gz"

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    # SageMaker passes hyperparameters under the names they were given, which often hold underscores
    context_settings={"token_normalize_func": lambda token: token.replace("_", "-"), "max_content_width": 100},
)


def _merge(context: typer.Context, chosen: str | Path | None) -> str | Path | None:
    try:
        merge_defaults(context, chosen)
    except TrainingError as error:
        _tell_sagemaker(str(error))
        fail(str(error))
    return chosen


@app.command(epilog="Example: whippet train photos --weight-decay 0.01 --seed 7")
@with_flags_of(FineTuning, "finetune_", "Fine-tuning")
def main(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="Photos as SPLIT/CLASS/*.jpg or CLASS/*.jpg, or s3://BUCKET/PREFIX of them; in a SageMaker job, the "
            "channel.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run folder.  [default: build/runs/ID of data and settings]")
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="Named hyperparameters: fast, balanced, best, finetune, seed.", is_eager=True, callback=_merge
        ),
    ] = DEFAULT_PRESET,
    hyperparameters: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="YAML of hyperparameters; flags count above it.", is_eager=True, callback=_merge
        ),
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="timm name of the network; a+b joins the features of both.")
    ] = "tf_efficientnet_lite1",
    image_size: Annotated[
        int, typer.Option(min=0, max=1024, help="Side of the network's input; 0: what it was trained with.")
    ] = 0,
    crop_pct: Annotated[
        float, typer.Option(min=0, max=1, help="Part of a photo's short side that it sees; 0: the network's own.")
    ] = 0.0,
    views: Annotated[
        int, typer.Option(min=1, max=32, help="Of each training photo: centre crop, mirrored, random crops.")
    ] = 1,
    hidden: Annotated[int, typer.Option(min=0, help="Hidden units of the head; 0: a linear head.")] = 0,
    dropout: Annotated[float, typer.Option(min=0, max=0.95, help="In training only.")] = 0.0,
    learning_rate: Annotated[float, typer.Option(min=1e-8, help="AdamW's.")] = 1e-3,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos in a step.")] = 256,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training photos, at most.")] = 60,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without a lower validation loss that end it.")] = 6,
    weight_decay: Annotated[
        list[float] | None,
        typer.Option(min=0, help="AdamW's; repeat it and validation chooses.  [default: 0.01 and 1]"),
    ] = None,
    label_smoothing: Annotated[float, typer.Option(min=0, max=0.99, help="In training only.")] = 0.0,
    fit_on: Annotated[
        FitOn, typer.Option(help="train+valid: the final head learns from the validation photos too.")
    ] = "train",
    engine: Annotated[str, typer.Option(help="Computes the features: openvino, torch or auto.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of every random draw.")] = 0,
    allow_leakage: Annotated[bool, typer.Option(help="Train although a picture lies in two splits.")] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            envvar="WHIPPET_CACHE",
            help="Keeps features and checkpoints.  [default: the user's cache folder]",
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=ACTION", help="What a rule does when it fires: stop, warn or off; all=off, overfit=stop."
        ),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            envvar="WHIPPET_PROFILE",
            help="Say where the time goes, and write trace.json.gz for ui.perfetto.dev.",
        ),
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Log to TensorBoard; needs the extra tensorboard.")
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Log to MLflow: http(s)://..., sqlite:///..., or a folder; needs the extra mlflow."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json and where the files are.")] = False,
) -> None:
    """Trains a classifier on a folder of photos and packs it as model.tar.gz."""
    exit_on_sigterm(RESUMABLE)  # features are kept as they are computed
    try:
        data = data or _training_channel()
        stderr_is_quiet = as_json or not sys.stderr.isatty()
        if not stderr_is_quiet:
            stderr.print("loading PyTorch", end="\r")
        settings = Settings.from_hyperparameters(context.params)
        from whippet_training.ruleset import parse_actions
        from whippet_training.watching import Watching

        watching = Watching(parse_actions(rule or []), profile, tensorboard, mlflow)
        cache = cache or Path(platformdirs.user_cache_dir("whippet"))
        model_dir = os.environ.get("SM_MODEL_DIR")
        from whippet_training.distributed import join, relaunch

        relaunch("whippet_training.train", sys.argv[1:])
        with join() as group:
            if group.rank > 0:
                _help(data, settings, cache, group)
                report = None
            else:
                report = (
                    _train_for_sagemaker(data, settings, cache, Path(model_dir), watching, group)
                    if model_dir and not out
                    else train_into_run_folder(data, settings, cache, out, watching, group)
                )
    except (TrainingError, OSError) as error:
        message = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.filename else str(error)
        _tell_sagemaker(message)
        fail(message)
    except Interrupted as reason:
        stderr.print("interrupted; the same command goes on where it was", soft_wrap=True)
        _end(INTERRUPTED if reason.signal == signal.SIGINT else RESUMABLE)
    except KeyboardInterrupt:
        interrupted()
    except Exception as error:
        _tell_sagemaker(f"{type(error).__name__}: {error}")
        raise
    if report:
        sys.stdout.write((json.dumps(report, indent=2) if as_json else summary(report)) + "\n")
    _end(0)


def _end(status: int) -> None:
    """Ends the command; one of several processes at once, as PyTorch's threads now and then abort its slow end."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    if status:
        raise SystemExit(status)


def _training_channel() -> Path:
    channel = os.environ.get("SM_CHANNEL_TRAINING")
    if not channel:
        raise TrainingError("Name the folder of photos: whippet train DIR")
    return Path(channel)


def train_into_run_folder(
    data: Path,
    settings: Settings,
    cache: Path,
    out: Path | None,
    watching: Watching | None = None,
    group: Group | None = None,
) -> dict[str, Any]:
    """Trains, and leaves the packed model with its report in a folder that is replaced once all went well.

    Returns:
        What metrics.json holds, and where the folder and the archive are.

    Raises:
        TrainingError: If the data cannot be trained on, or something that is not a run folder is in the way.
    """
    from whippet_training import export, run

    folder = out or Path("build", "runs", _run_name(data, settings))
    with _new_folder(folder) as unfinished, tempfile.TemporaryDirectory() as content:
        report = run.train(data, settings, cache, Path(content), unfinished, watching, group)
        export.pack(Path(content), unfinished / ARCHIVE)
    return {"run": str(folder), "archive": str(folder / ARCHIVE), **report}


def _help(data: Path, settings: Settings, cache: Path, group: Group) -> None:
    """Does this process's part for the one that trains."""
    from whippet_training import run

    with tempfile.TemporaryDirectory() as nothing:
        run.train(data, settings, cache, Path(nothing), Path(nothing), group=group)


def _train_for_sagemaker(
    data: Path, settings: Settings, cache: Path, model_dir: Path, watching: Watching, group: Group
) -> dict[str, Any]:
    from whippet_training import run

    output = os.environ.get("SM_OUTPUT_DATA_DIR")
    with tempfile.TemporaryDirectory() as content, tempfile.TemporaryDirectory() as reports:
        report = run.train(data, settings, cache, Path(content), Path(reports), watching, group)
        shutil.copytree(content, model_dir, dirs_exist_ok=True)
        if output:
            shutil.copytree(reports, output, dirs_exist_ok=True)
    return {"run": output, "archive": str(model_dir), **report}


def _run_name(data: Path, settings: Settings) -> str:
    identity = json.dumps([place(data), asdict(settings)], sort_keys=True)
    return f"{data.resolve().name}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder that takes the place of ``folder`` once all went well.

    Raises:
        TrainingError: If something that is not a run folder is in the way.
    """
    if folder.exists() and not (folder / "metrics.json").exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TrainingError(f"{folder} is not empty and not a run folder; pass another --out.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as workplace:
        unfinished = Path(workplace, "new")
        unfinished.mkdir()
        yield unfinished
        if folder.exists():
            folder.rename(Path(workplace, "old"))
        unfinished.rename(folder)


def summary(report: dict[str, Any]) -> str:
    """What a person wants to know of a training; SageMaker reads the metrics from it."""
    lines = []
    for name, title in (("valid", "valid"), ("test", "test"), ("test_clean", "test, not in ImageNet")):
        if values := report.get(name):
            lines.append(
                f"{title:22} top-1 {values['top1']:6.2%}  top-5 {values['top5']:6.2%}  loss {values['loss']:.4f}  "
                f"calibration error {values['ece']:.3f}  {values['images']} photos"
            )
    if stopped := report["trials"][0]["stopped"] or (report.get("finetuning") or {}).get("stopped"):
        lines.append(f"{'stopped early':22} {stopped}")
    if report.get("finetuning"):
        tuned = report["finetuning"]
        lines.append(
            f"{'fine-tuned':22} best of {len(tuned['epochs'])} epochs: {tuned['best_epoch']}, "
            f"{tuned['images_per_second']:.1f} photos/s"
            + (f"; stopped: {tuned['stopped']}" if tuned["stopped"] else "")
        )
    lines.append(f"{'seconds':22} " + "  ".join(f"{name} {value:.1f}" for name, value in report["seconds"].items()))
    if report.get("profile"):
        from whippet_training.profiling import table

        lines += ["", table(report["profile"]), ""]
    lines.append(f"{'model ' + report['model']['id']:22} {report['archive']}")
    return "\n".join(lines)


def _tell_sagemaker(reason: str) -> None:
    if "SM_MODEL_DIR" in os.environ:
        folder = Path(os.environ.get("SM_OUTPUT_DIR", "/opt/ml/output"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "failure").write_text(reason + "\n", encoding="utf-8")


if __name__ == "__main__":
    app(prog_name=program("python -m whippet_training.train"))
