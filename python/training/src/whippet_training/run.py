"""One training: from a data folder to a folder with the model archive's content and one with everything else."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import whippet_training
from whippet_training import export, footprint, metrics, plots
from whippet_training.backbones import Backbone, create_backbone
from whippet_training.card import Evaluation, evaluate, write_card
from whippet_training.dataset import read_clean_files
from whippet_training.distributed import Group
from whippet_training.engines import create_engine
from whippet_training.errors import TrainingError
from whippet_training.head import Examples, Head, refit, train_heads
from whippet_training.inference import Floats, decode, normalise
from whippet_training.observe import Observers, StopTraining
from whippet_training.preparation import Split, extract_features, prepare, read_trainable, report_skipped
from whippet_training.refine import refine
from whippet_training.ruleset import RuleSet
from whippet_training.settings import Settings
from whippet_training.source import Source
from whippet_training.views import view
from whippet_training.watching import Watchers, Watching, watch_over

TOP_K = 5
_VERIFIED_PHOTOS = 8
_SUSPECTS = 50


@dataclass
class Stopwatch:
    """Measures phases in seconds."""

    clock: Callable[[], float]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to a phase."""
        start = self.clock()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + self.clock() - start, 3)


def train(
    data: Path,
    settings: Settings,
    cache: Path | None,
    model_folder: Path,
    report_folder: Path,
    watching: Watching | None = None,
    group: Group | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Trains a model.

    Of several processes the first one trains the head, which takes seconds; the others compute their part of the
    features for it, fine-tune with it, and return nothing.

    Args:
        data: Folder of SPLIT/CLASS/* or CLASS/* photos, or s3://BUCKET/PREFIX.
        settings: What to train.
        cache: Folder that keeps features between trainings, and checkpoints of one that is under way; None keeps none.
        model_folder: Empty folder for the archive's content.
        report_folder: Folder for metrics.json, predictions.json and the plots.
        watching: Beside the rules, which watch as they do by default.
        group: The processes that share the work; None is this one alone.
        clock: Measures the phases.

    Returns:
        What metrics.json holds.

    Raises:
        TrainingError: If the data cannot be trained on, or pictures leak between splits.
        Interrupted: If SIGINT or SIGTERM ended a fine-tuning whose checkpoints are kept.
    """
    asked = watching if watching and (group is None or group.rank == 0) else Watching()
    with watch_over(asked) as watchers:
        report = _train(data, settings, cache, model_folder, report_folder, watchers, group, clock)
        if report:
            watchers.conclude(report, report_folder, model_folder)
    return report


def _train(
    data: Path,
    settings: Settings,
    cache: Path | None,
    model_folder: Path,
    report_folder: Path,
    watchers: Watchers,
    group: Group | None,
    clock: Callable[[], float],
) -> dict[str, Any]:
    watch = Stopwatch(clock)
    start = clock()
    helps = group is not None and group.rank > 0
    fine_tunes = settings.finetuning.epochs > 0
    if fine_tunes and settings.head.fit_on != "train":
        raise TrainingError(
            "Fine-tuning needs the validation photos to choose its best epoch: pass --fit-on train, or "
            "--finetune-epochs 0."
        )
    with watch.phase("scan"):
        dataset = read_trainable(data, settings.allow_leakage)
    with watch.phase("backbone"):
        backbone = create_backbone(settings.backbone, settings.image_size, settings.crop_pct)
        engines = [create_engine(settings.engine, network) for network in backbone.networks()]
    with watch.phase("features"):
        fits_valid = settings.head.fit_on == "train+valid"
        views = {"train": settings.views, "valid": settings.views if fits_valid else 1, "test": 1}
        extractions = extract_features(dataset, views, backbone, engines, cache, group)
        if helps and not fine_tunes:
            return {}
        prepared = prepare(dataset, extractions, views, settings.allow_leakage)
    if helps:
        refine(backbone, None, dataset, prepared, settings, Observers(), None, group)
        return {}
    classes, splits, skipped = prepared.classes, prepared.splits, prepared.skipped
    report_skipped(skipped)
    watchers.rules.name_classes(classes)
    with watch.phase("head"):
        learned, valid = splits["train"].examples, splits["valid"].examples
        trials = train_heads(learned, valid, len(classes), settings.head, settings.seed, watchers.observer())
    with watch.phase("labels"):
        suspects = _judge_labels(watchers.rules, splits["train"], classes)
    refined = None
    if fine_tunes:
        with watch.phase("fine-tuning"):
            place = cache / "checkpoints" if cache else None
            refined = refine(backbone, trials[0].head, dataset, prepared, settings, watchers.observer(), place, group)
            backbone, splits, valid = refined.backbone, refined.splits, refined.splits["valid"].examples
    with watch.phase("head"):
        chosen = refined.head if refined else trials[0].head
        temperature = metrics.fit_temperature(chosen.logits(valid.features), valid.labels)
        judged = head = chosen.divided(temperature)
        if fits_valid:
            head = refit(learned, valid, len(classes), settings.head, trials[0], settings.seed).divided(temperature)
    with watch.phase("metrics"):
        logits = {
            "valid": judged.logits(valid.features),  # by a head that has not seen these photos
            "test": head.logits(splits["test"].examples.features),
        }
        summaries = {
            name: metrics.summarise(logits[name], splits[name].examples.labels) if splits[name].photos else None
            for name in ("valid", "test")
        }
    with watch.phase("export"):
        weights = export.write_weights(model_folder, backbone, head)
        _verify(model_folder, weights, dataset.source, splits["valid"], backbone, head)
        document = {
            "schema_version": 1,
            "id": export.model_id(model_folder, weights),
            "name": f"{backbone.name}-{'mlp' if settings.head.hidden else 'linear'}{'-tuned' if refined else ''}",
            "backbone": backbone.name,
            "classes": list(classes),
            "preprocessing": json.loads(json.dumps(asdict(backbone.preprocessing))),
            "weights": weights,
            "metrics": summaries,
            "data": {
                "fingerprint": dataset.fingerprint(),
                "images": {name: len(split.photos) for name, split in splits.items()},
            },
            "hyperparameters": {
                **settings.hyperparameters(),
                "weight_decay": trials[0].weight_decay,
                "best_epoch": trials[0].epoch,
                "temperature": temperature,
            },
            "seed": settings.seed,
            "versions": _versions(),
        }
        export.write_document(model_folder, document)
    with watch.phase("report"):
        evaluated = {name: summary for name, summary in summaries.items() if summary}
        for name in evaluated:
            evaluated[name] = {**evaluated[name], **_by_class(logits[name], splits[name].examples, classes)}
        shown = "test" if "test" in evaluated else "valid"
        _plot(report_folder, logits[shown], splits[shown].examples, classes, shown)
        _write_json(report_folder / "predictions.json", _predictions(splits[shown], logits[shown], classes, shown))
    report = {
        "model": {key: document[key] for key in ("id", "name", "backbone")},
        "valid": None,
        "test": None,
        **evaluated,
        **_clean_metrics(dataset.source, splits["test"], logits["test"]),
        "calibration_bins": metrics.CALIBRATION_BINS,
        "data": {**document["data"], "folder": dataset.name, "classes": len(classes)},
        "skipped": [{"file": file, "reason": reason} for file, reason in sorted(skipped.items())],
        "leaks": [[photo.file for photo in group] for group in prepared.leaks],
        "hyperparameters": document["hyperparameters"],
        "trials": [
            {
                "weight_decay": trial.weight_decay,
                "epoch": trial.epoch,
                "stopped": trial.stopped,
                "train_loss": list(trial.train_loss),
                "valid_loss": list(trial.valid_loss),
            }
            for trial in trials
        ],
        "finetuning": refined.report() if refined else None,
        "rules": watchers.rules.report(),
        "label_suspects": suspects,
        "seed": settings.seed,
        "engine": engines[0].name,
        "features": {
            "computed": sum(extraction.computed for extraction in extractions),
            "cached": sum(len(extraction.entries) - extraction.computed for extraction in extractions),
        },
        "versions": document["versions"],
        "seconds": watch.seconds,
    }
    evaluation = Evaluation(
        shown, splits[shown].photos, logits[shown], splits[shown].examples.labels, _clean(dataset.source, splits[shown])
    )
    with watch.phase("card"):
        for name, bounds in evaluate(evaluation, settings.seed).items():
            report[name] |= {"interval_95": {metric: [bound.low, bound.high] for metric, bound in bounds.items()}}
        cost = footprint.measure(clock() - start, os.cpu_count() or 1)
        report["footprint"] = asdict(cost)
        write_card(model_folder, report_folder, report, dataset, evaluation, classes, document["preprocessing"], cost)
    report |= watchers.profiled(report_folder)
    _write_json(report_folder / "metrics.json", report)
    if refined:
        refined.forget_checkpoints()
    return report


def _judge_labels(rules: RuleSet, train: Split, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Lists the training photos whose label is suspect, most suspect first; at most fifty."""
    try:
        found = rules.judge_labels(train.examples, len(classes))
    except StopTraining as reason:
        raise TrainingError(f"Nothing was written, as a rule asked to stop: {reason}") from None
    return [
        {
            "file": train.photos[one.number].file,
            "label": classes[one.label],
            "looks_like": classes[one.looks_like],
            "score": round(one.score, 4),
            "own_score": round(one.own_score, 4),
        }
        for one in found[:_SUSPECTS]
    ]


def _verify(
    folder: Path, weights: dict[str, str], source: Source, split: Split, backbone: Backbone, head: Head
) -> None:
    chosen = range(0, len(split.photos), max(1, len(split.photos) // _VERIFIED_PHOTOS))
    images = [decode(source.read(split.photos[i].file)) for i in chosen]
    preprocessing = backbone.preprocessing
    pixels = [view(np.asarray(image), 0, b"", preprocessing) for image in images]
    batch = np.concatenate([normalise(one, preprocessing) for one in pixels])
    export.verify_weights(folder, weights, batch, head.logits(split.examples.features[list(chosen)]))


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {
        "whippet_training": whippet_training.__version__,
        "python": platform.python_version(),
    }
    for package in ("torch", "timm", "openvino", "onnx", "numpy", "pillow"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _by_class(logits: Floats, examples: Examples, classes: Sequence[str]) -> dict[str, Any]:
    matrix = metrics.confusion_matrix(logits.argmax(axis=1), examples.labels, len(classes))
    return {"per_class": metrics.per_class(matrix, classes)}


def _clean(source: Source, split: Split) -> npt.NDArray[np.bool_] | None:
    """Returns of each photo whether the backbone cannot have seen it in pretraining, if that is known."""
    clean = read_clean_files(source)
    return None if clean is None else np.array([photo.file in clean for photo in split.photos], np.bool_)


def _clean_metrics(source: Source, test: Split, logits: Floats) -> dict[str, Any]:
    chosen = _clean(source, test)
    if chosen is None or not chosen.any():
        return {}
    return {"test_clean": metrics.summarise(logits[chosen], test.examples.labels[chosen])}


def _plot(folder: Path, logits: Floats, examples: Examples, classes: Sequence[str], split: str) -> None:
    matrix = metrics.confusion_matrix(logits.argmax(axis=1), examples.labels, len(classes))
    top1 = (logits.argmax(axis=1) == examples.labels).mean()
    plots.plot_confusion_matrix(
        matrix, classes, f"{split}: {len(examples)} photos, top-1 {top1:.1%}", folder / "confusion_matrix.png"
    )
    calibration = metrics.calibration(metrics.softmax(logits), examples.labels)
    plots.plot_reliability(calibration, f"{split}, {len(examples)} photos", folder / "reliability.png")


def _predictions(split: Split, logits: Floats, classes: Sequence[str], name: str) -> dict[str, Any]:
    probabilities = metrics.softmax(logits)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP_K]
    return {
        "split": name,
        "photos": [
            {
                "file": photo.file,
                "label": photo.label,
                "predictions": [{"label": classes[i], "score": round(float(scores[i]), 6)} for i in ranked],
            }
            for photo, scores, ranked in zip(split.photos, probabilities, best, strict=True)
        ],
    }


def _write_json(path: Path, document: Any) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    # what of a file's name is no Unicode becomes an escape of JSON
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
