"""The model card: what a model is for, how good it is and how it was made, as Markdown and as one HTML page.

Model cards: Mitchell et al. 2019 (arXiv 1810.03993).
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
from PIL import ImageOps

from whippet_training import metrics
from whippet_training.bootstrap import RESAMPLES, Interval, intervals
from whippet_training.dataset import SPLITS, Dataset, Photo
from whippet_training.errors import TrainingError
from whippet_training.footprint import Footprint
from whippet_training.head import Labels
from whippet_training.inference import Floats, PhotoError, decode
from whippet_training.sample import STAMP
from whippet_training.source import Source

NAMES = ("model_card.md", "model_card.html")

_PAIRS, _EXAMPLES, _SUSPECTS = 6, 2, 6
_THUMBNAIL_SIDE = 112
_THUMBNAIL_BYTES = 10_000
_NO_COST = (
    "Not told here: seconds, dollars and grams of CO2 differ each time, and this archive has the same bytes whenever "
    "it is trained on the same data with the same settings. They are in model_card.html of the training's run folder."
)


@dataclass(frozen=True)
class Evaluation:
    """Photos on which a model was measured.

    Attributes:
        name: valid or test.
        photos: In the order of the arrays.
        logits: The model's answers [N, classes].
        labels: Class numbers [N].
        clean: Whether the backbone cannot have seen the photo in pretraining, bool [N]; None where it is not known.
    """

    name: str
    photos: Sequence[Photo]
    logits: Floats
    labels: Labels
    clean: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class _Cell:
    value: str
    interval: str

    def __str__(self) -> str:
        return f"{self.value} {self.interval}"


def write_card(
    archive: Path,
    run: Path,
    report: Mapping[str, Any],
    dataset: Dataset,
    evaluation: Evaluation,
    classes: Sequence[str],
    preprocessing: Mapping[str, Any],
    footprint: Footprint,
) -> None:
    """Writes the card into the archive, without what differs from one training to the next, and whole into the run.

    Args:
        archive: Folder of the archive's content.
        run: Folder of the training's report.
        report: What metrics.json holds.
        dataset: What was trained on.
        evaluation: Test photos; validation photos where there are none.
        classes: Names in the order of the logits.
        preprocessing: Of model.json.
        footprint: What the training cost.
    """
    content = _content(report, dataset, evaluation, classes, preprocessing)
    for folder, cost in ((archive, None), (run, _cost(footprint))):
        for name in NAMES:
            text = _environment(name).get_template(f"{name}.j2").render(**content, footprint=cost)
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")


def evaluate(evaluation: Evaluation, seed: int) -> dict[str, dict[str, Interval]]:
    """The confidence intervals of all photos, and of the clean ones if there are any."""
    groups = {evaluation.name: np.full(len(evaluation.labels), True)}
    if evaluation.clean is not None and evaluation.clean.any():
        groups[f"{evaluation.name}_clean"] = evaluation.clean
    return {
        name: intervals(evaluation.logits[chosen], evaluation.labels[chosen], seed) for name, chosen in groups.items()
    }


def _content(
    report: Mapping[str, Any],
    dataset: Dataset,
    evaluation: Evaluation,
    classes: Sequence[str],
    preprocessing: Mapping[str, Any],
) -> dict[str, Any]:
    bounds = evaluate(evaluation, report["seed"])
    titles = {"test": "all test photos", "test_clean": "test photos not in ImageNet's training set"}
    rows = [
        _row(titles.get(name, "validation photos (there are no test photos)"), report[name], bound)
        for name, bound in bounds.items()
        if report.get(name)
    ]
    calibration = metrics.calibration(metrics.softmax(evaluation.logits), evaluation.labels)
    hyperparameters = {**report["hyperparameters"], "seed": report["seed"], "features by": report["engine"]}
    return {
        "name": report["model"]["name"],
        "model_id": report["model"]["id"],
        "backbone": report["model"]["backbone"],
        "classes": classes,
        "shown": "validation" if evaluation.name == "valid" else evaluation.name,
        "rows": rows,
        "tiles": _tiles(rows),
        "resamples": RESAMPLES,
        "clean_note": _clean_note(report, evaluation),
        "bins": _bins(calibration),
        "temperature": f"{report['hyperparameters'].get('temperature', 1.0):.3g}",
        "curve": _curve(report["trials"]),
        "pairs": _pairs(dataset.source, evaluation, classes),
        "use": _use(evaluation, classes, dataset),
        "fingerprint": report["data"]["fingerprint"],
        "images": {name: report["data"]["images"].get(name, 0) for name in SPLITS},
        "skipped": len(report["skipped"]),
        "leaks": len(report["leaks"]),
        "origin": _origin(dataset.source),
        "split_note": _split_note(dataset),
        "per_class": _per_class(report, dataset, evaluation.name),
        "hyperparameters": [(name.replace("_", " "), _plain(value)) for name, value in hyperparameters.items()],
        "findings": report.get("rules", []),
        "suspects": _suspects(dataset.source, report.get("label_suspects", [])),
        "no_cost": _NO_COST,
        "preprocessing": [(name, _plain(value)) for name, value in preprocessing.items()],
        "versions": [(name.replace("_", " "), value or "not installed") for name, value in report["versions"].items()],
    }


def _row(title: str, summary: Mapping[str, Any], bounds: Mapping[str, Interval]) -> dict[str, Any]:
    def cell(name: str, form: str) -> _Cell:
        low, high = (format(value, form) for value in (bounds[name].low, bounds[name].high))
        return _Cell(format(summary[name], form), f"({low} to {high})")

    return {
        "title": title,
        "top1": cell("top1", ".1%"),
        "top5": cell("top5", ".1%"),
        "loss": cell("loss", ".3f"),
        "ece": cell("ece", ".3f"),
        "images": summary["images"],
    }


def _tiles(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    tiles = [
        {"title": f"top-1, {row['title']}", "value": row["top1"].value, "detail": row["top1"].interval} for row in rows
    ]
    first = rows[0]
    return [
        *tiles,
        {"title": "calibration error", "value": first["ece"].value, "detail": first["ece"].interval},
        {"title": "photos it was measured on", "value": str(first["images"]), "detail": "none was trained on"},
    ]


def _clean_note(report: Mapping[str, Any], evaluation: Evaluation) -> str:
    if evaluation.clean is None:
        return (
            "The backbone was pretrained on other photos; whether some of these are among them is not known (the data "
            "folder's manifest.csv does not say), and if they are, the figures are flattered."
        )
    seen = int((~evaluation.clean).sum())
    return (
        f"The backbone has seen {seen} of the {len(evaluation.labels)} {evaluation.name} photos in its pretraining on "
        "ImageNet; the figures of the others are the ones to go by."
    )


def _bins(calibration: metrics.Calibration) -> list[dict[str, Any]]:
    """Places the bars of the reliability diagram on 300 by 200 pixels with their origin at (34, 210)."""
    width = 300 / len(calibration.count)
    total = calibration.count.sum()
    bins = []
    for i, count in enumerate(calibration.count):
        accuracy = float(calibration.accuracy[i]) if count else 0.0
        bins.append(
            {
                "x": round(34 + i * width + 1, 1),
                "width": round(width - 2, 1),
                "y": round(210 - 200 * accuracy, 1),
                "height": round(200 * accuracy, 1),
                "cx": round(34 + 300 * float(calibration.confidence[i]), 1) if count else 0,
                "radius": round(2.5 + 4 * float(np.sqrt(count / total)), 1),
                "count": int(count),
                "accuracy": f"{accuracy:.0%}",
            }
        )
    return bins


def _curve(trials: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Places the losses of the trial that won on 300 by 200 pixels with their origin at (34, 210)."""
    if not trials or len(trials[0]["valid_loss"]) < 2:
        return None
    train, valid = (np.array(trials[0][name]) for name in ("train_loss", "valid_loss"))
    high = float(np.nanmax([train.max(), valid.max()])) or 1.0
    across = 34 + 300 * np.arange(len(valid)) / (len(valid) - 1)

    def points(losses: npt.NDArray[np.float64]) -> str:
        return " ".join(
            f"{x:.1f},{210 - 200 * y / high:.1f}" for x, y in zip(across, losses, strict=True) if np.isfinite(y)
        )

    best = trials[0]["epoch"] - 1
    return {
        "train": points(train),
        "valid": points(valid),
        "epochs": len(valid),
        "best_x": round(float(across[best]), 1),
        "best_y": round(210 - 200 * float(valid[best]) / high, 1),
        "ticks": [{"y": 210 - 200 * part, "label": f"{high * part:.2g}"} for part in (0, 0.5, 1)],
    }


def _pairs(source: Source, evaluation: Evaluation, classes: Sequence[str]) -> list[dict[str, Any]]:
    predicted = evaluation.logits.argmax(axis=1)
    sizes = Counter(evaluation.labels.tolist())
    wrong = np.flatnonzero(predicted != evaluation.labels).tolist()
    counts = Counter((int(evaluation.labels[i]), int(predicted[i])) for i in wrong)
    pairs = []
    for (true, taken), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_PAIRS]:
        members = [i for i in wrong if evaluation.labels[i] == true and predicted[i] == taken]
        # The surest mistakes tell most about what misleads the model.
        members.sort(key=lambda i: (float(evaluation.logits[i, true] - evaluation.logits[i, taken]), i))
        files = [evaluation.photos[i].file for i in members[:_EXAMPLES]]
        pairs.append(
            {
                "true": classes[true],
                "predicted": classes[taken],
                "count": count,
                "of": sizes[true],
                "examples": [{"file": file, "thumbnail": _thumbnail(source, file)} for file in files],
            }
        )
    return pairs


def _thumbnail(source: Source, file: str) -> str:
    """A photo's middle as a small JPEG in base64; empty if it can no longer be read."""
    try:
        picture = ImageOps.fit(decode(source.read(file)), (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    except (OSError, PhotoError, TrainingError):
        return ""
    for quality in (80, 60, 40, 20):
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality)
        if stream.tell() <= _THUMBNAIL_BYTES:
            break
    return base64.b64encode(stream.getvalue()).decode()


def _use(evaluation: Evaluation, classes: Sequence[str], dataset: Dataset) -> list[str]:
    train = Counter(photo.label for photo in dataset.photos if photo.split == "train")
    fewest = min(classes, key=lambda name: (train[name], name))
    lines = [
        f"For photos that show one of its {len(classes)} classes, like those it was trained on.",
        "A photo of anything else is given one of these classes too, often with a high score: a calibrated score says "
        "how sure the model is among its classes, not whether the photo shows one of them.",
        "Not for decisions about people, nor where a wrong answer does harm: it was not examined for that.",
        f"Figures of single classes rest on few photos ({fewest} has {train[fewest]} to train on); photos of other "
        "cameras, seasons or places may be answered worse than these figures say.",
    ]
    if evaluation.name != "test":
        lines.append(
            "There were no test photos: the figures are those of the photos that chose the model, and flattered."
        )
    return lines


def _origin(source: Source) -> str:
    if source.has(STAMP):
        return "drawn by `whippet data sample`; no photos of real animals."
    try:
        lines = source.read("README.md").decode("utf-8").splitlines()
    except (OSError, TrainingError, UnicodeDecodeError):
        return "not recorded: say it in a README.md in the data folder, and it stands here."
    paragraphs = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    text = paragraphs[0] if paragraphs else ""
    return f"README.md of the data folder says: {text[:400]}{'…' if len(text) > 400 else ''}"


def _split_note(dataset: Dataset) -> str:
    named = {split for split, _ in dataset.class_folders}
    if named == {""}:
        return (
            "the folder has no splits; of each class a tenth validates and a tenth tests, in the order of the files' "
            "SHA-256 digests, so copies of a file stay together and the same folder is always split alike."
        )
    if "valid" not in named:
        return (
            "train and test as the folder has them; a tenth of each class's train photos validates, in the order of "
            "the files' SHA-256 digests."
        )
    return f"as the folder has them ({', '.join(split for split in SPLITS if split in named)})."


def _per_class(report: Mapping[str, Any], dataset: Dataset, shown: str) -> list[dict[str, Any]]:
    left_out = {one["file"] for one in report["skipped"]}
    counts = Counter((photo.split, photo.label) for photo in dataset.photos if photo.file not in left_out)
    rows = report[shown]["per_class"]
    return [
        {
            "name": row["class"],
            **{split: counts[split, row["class"]] for split in SPLITS},
            "recall": _percent(row["recall"]),
            "precision": _percent(row["precision"]),
        }
        for row in sorted(rows, key=lambda row: (row["recall"] is None, row["recall"], row["class"]))
    ]


def _suspects(source: Source, suspects: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**one, "score": _percent(one["score"]), "thumbnail": _thumbnail(source, one["file"])}
        for one in suspects[:_SUSPECTS]
    ]


def _cost(footprint: Footprint) -> dict[str, Any]:
    return {
        "seconds": f"{footprint.seconds:g}",
        "vcpus": footprint.vcpus,
        "instance": footprint.instance,
        "money": "not known" if footprint.dollars is None else f"${footprint.dollars:.4f}",
        "grams": f"{footprint.grams:.2g}",
        "energy": f"{footprint.kilowatt_hours * 1000:.2g}",
        "notes": footprint.notes,
        "factors": footprint.factors,
    }


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _environment(name: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("whippet_training"),
        autoescape=name.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=False,
    )
    environment.filters["text"] = _markdown
    return environment


def _markdown(text: object) -> str:
    """Escapes what Markdown, and the HTML in it, would take for markup."""
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{letter}" if letter in r"\`*_[]|~#!" else letter for letter in plain)
