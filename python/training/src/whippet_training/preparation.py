"""From a data folder to arrays: photos that can be trained on, their features, and both by split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whippet_training.backbones import Backbone
from whippet_training.cache import FeatureCache
from whippet_training.console import progress, stderr
from whippet_training.dataset import Dataset, Photo, read_dataset, shared_between_splits
from whippet_training.engines import Engine
from whippet_training.errors import TrainingError
from whippet_training.features import Extraction, cache_folder, extract
from whippet_training.head import Examples
from whippet_training.inference import PhotoError, decode
from whippet_training.sharding import Group


@dataclass(frozen=True)
class Split:
    """Photos of a split that have a feature and a class that is trained, with both as arrays."""

    photos: tuple[Photo, ...]
    examples: Examples


@dataclass(frozen=True)
class Prepared:
    """A data set as a head takes it.

    Attributes:
        classes: Names in the order of the logits.
        splits: By name.
        skipped: Why photos are left out, by file.
        leaks: Photos of each picture that lies in several splits.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    skipped: Mapping[str, str]
    leaks: list[list[Photo]]


def read_trainable(data: Path, allow_leakage: bool) -> Dataset:
    """Reads a data folder.

    Raises:
        TrainingError: If there are fewer than two classes to train on, a class has no printable name, or a file lies
            in two splits.
    """
    dataset = read_dataset(data)
    for label in dataset.classes:
        if not label.isprintable():  # what is no Unicode in a file's name is not printable either
            raise TrainingError(f"A class cannot be called {label!r}: rename its folder.")
    copies = shared_between_splits([(photo.content, photo) for photo in dataset.photos])
    _refuse_leakage([group for group in copies if _is_picture(dataset, group[0])], allow_leakage)
    if len(dataset.classes) < 2:
        raise TrainingError(
            f"{dataset.name} has training photos of {len(dataset.classes)} classes; two or more are needed, "
            "each in a folder of its own, as train/CLASS/*.jpg or CLASS/*.jpg."
        )
    return dataset


def extract_features(
    dataset: Dataset,
    views: Mapping[str, int],
    backbone: Backbone,
    engines: Sequence[Engine],
    cache: Path | None,
    group: Group | None = None,
) -> list[Extraction]:
    """Computes what the cache does not hold.

    Args:
        dataset: Its photos.
        views: Of a photo, by split; only photos of these splits are read.
        backbone: One network or several.
        engines: One for each network.
        cache: Folder that keeps features; None keeps none.
        group: The processes that share the work.

    Returns:
        The features of each network.
    """
    photos = {photo: views[photo.split] for photo in dataset.photos if photo.split in views}
    extractions = []
    for network, engine in zip(backbone.networks(), engines, strict=True):
        folder = cache_folder(cache, network, engine) if cache else None
        if folder:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                stderr.print(f"warning: features are not kept: {error.strerror}: {folder}", soft_wrap=True)
                folder = None
        with (
            FeatureCache(folder, network.width) as features,
            progress(f"features of {network.name}", len(photos)) as advance,
        ):
            extractions.append(extract(dataset.source, photos, network, engine, features, advance, group))
    return extractions


def prepare(
    dataset: Dataset, extractions: Sequence[Extraction], views: Mapping[str, int], allow_leakage: bool
) -> Prepared:
    """Puts features into arrays by split.

    Args:
        dataset: Its photos.
        extractions: The features of each network.
        views: Of a photo, by split, as they were extracted.
        allow_leakage: Train although a picture lies in two splits.

    Raises:
        TrainingError: If the same picture lies in two splits, or train or valid has no photo left.
    """
    skipped = dict(dataset.unreadable)
    for extraction in extractions:
        skipped |= extraction.skipped
    readable = [photo for photo in dataset.photos if photo.split in views and photo.file not in skipped]
    leaks = shared_between_splits([(extractions[0].entries[photo.content, 0].pixels, photo) for photo in readable])
    _refuse_leakage(leaks, allow_leakage)
    classes = tuple(sorted({photo.label for photo in readable if photo.split == "train"}))
    skipped |= {photo.file: "its class has no photo to train on" for photo in readable if photo.label not in classes}
    arranged = {name: _split(readable, name, classes, extractions, count) for name, count in views.items()}
    for name in ("train", "valid"):
        if not arranged[name].photos or len(classes) < 2:
            report_skipped(skipped)
            raise TrainingError(
                f"{dataset.name} has too few readable photos in its {name} split; "
                f"run: whippet data check {dataset.name}"
            )
    return Prepared(classes, arranged, skipped, leaks)


def report_skipped(skipped: Mapping[str, str], shown: int = 20) -> None:
    """Tells a person which photos are left out, and why."""
    if not skipped:
        return
    lines = [f"skipped {len(skipped)} photos that cannot be used:"]
    lines += [f"  {file}: {reason}" for file, reason in sorted(skipped.items())[:shown]]
    if len(skipped) > shown:
        lines.append(f"  and {len(skipped) - shown} more, listed in metrics.json")
    stderr.print("\n".join(lines), markup=False, soft_wrap=True)


def _is_picture(dataset: Dataset, photo: Photo) -> bool:
    """Whether a file can be decoded: the same empty file in two splits flatters nothing."""
    try:
        decode(dataset.source.read(photo.file))
    except (PhotoError, OSError):
        return False
    return True


def _refuse_leakage(leaks: Sequence[Sequence[Photo]], allowed: bool) -> None:
    if leaks and not allowed:
        example = " and ".join(photo.file for photo in leaks[0][:2])
        raise TrainingError(
            f"{len(leaks)} pictures lie in more than one split, {example} for one, and would flatter the metrics. "
            "Remove the copies (whippet data check names them all), or pass --allow-leakage."
        )


def _split(
    photos: Sequence[Photo], name: str, classes: Sequence[str], extractions: Sequence[Extraction], views: int
) -> Split:
    number = {label: i for i, label in enumerate(classes)}
    chosen = tuple(photo for photo in photos if photo.split == name and photo.label in number)
    centre, *varied = (
        np.concatenate([extraction.features(chosen, view) for extraction in extractions], axis=1)
        for view in range(views)
    )
    return Split(chosen, Examples(centre, np.array([number[photo.label] for photo in chosen], np.int64), tuple(varied)))
