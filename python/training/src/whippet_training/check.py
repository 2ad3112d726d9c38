"""Finds what is wrong with a data folder before a training does, or worse, does not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from PIL import Image

from whippet_training.dataset import Dataset, Photo, pixel_digest
from whippet_training.inference import PhotoError, decode
from whippet_training.source import Source

TINY_SIDE = 64
"""Photos with a shorter side are mostly interpolation by the time a network sees 224 pixels or more."""

TINY_CLASS = 10
"""Fewer training photos of a class than this teach its background as much as the class."""

_FORMATS = {".png": "PNG", ".webp": "WEBP"}
"""Pillow's format by the file's suffix; every other photo suffix means JPEG."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        severity: An error makes a training wrong or impossible; a warning makes it worse.
        kind: Short name, the same for all findings of the kind.
        subject: The file, class or files it is about.
        detail: What is wrong, where the kind does not say it all.
    """

    severity: Literal["error", "warning"]
    kind: str
    subject: str
    detail: str = ""


@dataclass(frozen=True)
class _Inspected:
    photo: Photo
    pixels: bytes = b""
    format: str = ""
    shorter_side: int = 0
    damage: str = ""


def check(dataset: Dataset, advance: Callable[[], None] = lambda: None) -> list[Finding]:
    """Looks at every photo and every class of a data set.

    Args:
        dataset: What to look at.
        advance: Called for every photo that is done.

    Returns:
        Errors first, then by kind and subject.
    """
    inspected: list[_Inspected] = []
    with ThreadPoolExecutor() as pool:
        for one in pool.map(lambda photo: _inspect(dataset.source, photo), dataset.photos):
            inspected.append(one)
            advance()
    findings = [
        *(Finding("error", "unreadable", file, reason) for file, reason in dataset.unreadable.items()),
        *(Finding("warning", "not a photo", file) for file in dataset.strangers),
        *_files(inspected),
        *_copies([one for one in inspected if not one.damage]),
        *_classes(dataset, [one.photo for one in inspected if not one.damage]),
    ]
    return sorted(findings, key=lambda finding: (finding.severity, finding.kind, finding.subject))


def _inspect(source: Source, photo: Photo) -> _Inspected:
    try:
        data = source.read(photo.file)
        image = decode(data)
        with Image.open(BytesIO(data)) as opened:
            return _Inspected(photo, pixel_digest(np.asarray(image)), opened.format or "", min(image.size))
    except PhotoError as error:
        return _Inspected(photo, damage=error.message)
    except OSError as error:
        return _Inspected(photo, damage=error.strerror or str(error))


def _files(inspected: Iterable[_Inspected]) -> Iterator[Finding]:
    for one in inspected:
        file = one.photo.file
        named = _FORMATS.get(PurePosixPath(file).suffix.lower(), "JPEG")
        if one.damage:
            yield Finding("error", "unreadable", file, one.damage)
            continue
        if one.format not in (named, "MPO"):  # MPO is what some phones write: a JPEG with a second picture
            yield Finding("warning", "wrong type", file, f"is a {one.format} file")
        if one.shorter_side < TINY_SIDE:
            yield Finding("warning", "tiny picture", file, f"shorter side {one.shorter_side} pixels")


def _copies(inspected: Iterable[_Inspected]) -> Iterator[Finding]:
    by_pixels: dict[bytes, list[Photo]] = defaultdict(list)
    for one in inspected:
        by_pixels[one.pixels].append(one.photo)
    for photos in by_pixels.values():
        if len(photos) == 1:
            continue
        subject = ", ".join(photo.file for photo in photos)
        if len({photo.split for photo in photos}) > 1:
            yield Finding("error", "same picture in two splits", subject)
        if len({photo.label for photo in photos}) > 1:
            yield Finding("error", "same picture in two classes", subject)
        elif len({photo.split for photo in photos}) == 1:
            yield Finding("warning", "duplicate", subject)


def _classes(dataset: Dataset, readable: Sequence[Photo]) -> Iterator[Finding]:
    counts = Counter((photo.split, photo.label) for photo in readable)
    labels = sorted({label for _, label in dataset.class_folders})
    splits = sorted({photo.split for photo in readable})
    for label in labels:
        trained = counts["train", label]
        if not any(counts[split, label] for split in splits):
            yield Finding("error", "empty class", label)
        elif not trained:
            yield Finding("error", "class without training photos", label)
        elif trained < TINY_CLASS:
            yield Finding("warning", "tiny class", label, f"{trained} training photos")
        if trained:
            for split in splits:
                if not counts[split, label]:
                    yield Finding("warning", "class missing in a split", label, f"none in {split}")
    if len([label for label in labels if counts["train", label]]) < 2:
        yield Finding("error", "too few classes", dataset.name, "a classifier needs two or more")
