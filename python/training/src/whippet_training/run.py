"""One training: from a data folder to a folder with the model archive's content and one with everything else."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import whippet_training
from whippet_training import export, metrics, plots
from whippet_training.backbones import Backbone, create_backbone
from whippet_training.dataset import read_clean_files
from whippet_training.engines import create_engine
from whippet_training.head import Examples, Head, train_heads
from whippet_training.inference import Floats, decode, normalise
from whippet_training.preparation import Split, extract_features, prepare, read_trainable, report_skipped
from whippet_training.settings import Settings
from whippet_training.source import Source
from whippet_training.views import view

TOP_K = 5
_VERIFIED_PHOTOS = 8


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
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Trains a model.

    Args:
        data: Folder of SPLIT/CLASS/* or CLASS/* photos, or s3://BUCKET/PREFIX.
        settings: What to train.
        cache: Folder that keeps features between trainings; None keeps none.
        model_folder: Empty folder for the archive's content.
        report_folder: Folder for metrics.json, predictions.json and the plots.
        clock: Measures the phases.

    Returns:
        What metrics.json holds.

    Raises:
        TrainingError: If the data cannot be trained on, or pictures leak between splits.
    """
    watch = Stopwatch(clock)
    with watch.phase("scan"):
        dataset = read_trainable(data, settings.allow_leakage)
    with watch.phase("backbone"):
        backbone = create_backbone(settings.backbone, settings.image_size)
        engines = [create_engine(settings.engine, network) for network in backbone.networks()]
    with watch.phase("features"):
        extractions = extract_features(dataset, settings.views, backbone, engines, cache)
        prepared = prepare(dataset, extractions, settings.views, settings.allow_leakage)
    classes, splits, skipped = prepared.classes, prepared.splits, prepared.skipped
    report_skipped(skipped)
    with watch.phase("head"):
        trials = train_heads(
            splits["train"].examples, splits["valid"].examples, len(classes), settings.head, settings.seed
        )
        valid = splits["valid"].examples
        temperature = metrics.fit_temperature(trials[0].head.logits(valid.features), valid.labels)
        head = trials[0].head.divided(temperature)
    with watch.phase("metrics"):
        logits = {name: head.logits(splits[name].examples.features) for name in ("valid", "test")}
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
            "name": f"{backbone.name}-{'mlp' if settings.head.hidden else 'linear'}",
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
                "train_loss": list(trial.train_loss),
                "valid_loss": list(trial.valid_loss),
            }
            for trial in trials
        ],
        "seed": settings.seed,
        "engine": engines[0].name,
        "features": {
            "computed": sum(extraction.computed for extraction in extractions),
            "cached": sum(len(extraction.entries) - extraction.computed for extraction in extractions),
        },
        "versions": document["versions"],
        "seconds": watch.seconds,
    }
    _write_json(report_folder / "metrics.json", report)
    return report


def _verify(
    folder: Path, weights: dict[str, str], source: Source, split: Split, backbone: Backbone, head: Head
) -> None:
    chosen = range(0, len(split.photos), max(1, len(split.photos) // _VERIFIED_PHOTOS))
    images = [decode(source.read(split.photos[i].file)) for i in chosen]
    preprocessing = backbone.preprocessing
    pixels = [view(image, 0, b"", preprocessing) for image in images]
    batch = np.concatenate([normalise(one, preprocessing) for one in pixels])
    export.verify_weights(folder, weights, batch, head.logits(split.examples.features[list(chosen)]))


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {
        "whippet_training": whippet_training.__version__,
        "python": platform.python_version(),
    }
    for package in ("torch", "timm", "openvino", "numpy", "pillow"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _by_class(logits: Floats, examples: Examples, classes: Sequence[str]) -> dict[str, Any]:
    matrix = metrics.confusion_matrix(logits.argmax(axis=1), examples.labels, len(classes))
    return {"per_class": metrics.per_class(matrix, classes)}


def _clean_metrics(source: Source, test: Split, logits: Floats) -> dict[str, Any]:
    clean = read_clean_files(source)
    chosen = [i for i, photo in enumerate(test.photos) if clean is not None and photo.file in clean]
    return {"test_clean": metrics.summarise(logits[chosen], test.examples.labels[chosen])} if chosen else {}


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
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
