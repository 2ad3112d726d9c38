"""Finds the photos of a data folder or an S3 prefix, puts them into splits and identifies them by content."""

from __future__ import annotations

import csv
import hashlib
import io
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import xxhash

from whippet_training.errors import TrainingError
from whippet_training.inference import Pixels
from whippet_training.source import Source, open_source

SPLITS = ("train", "valid", "test")
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "test": "test",
    "testing": "test",
}
PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"})
_HELD_OUT = {"valid": 0.1, "test": 0.1}
"""Parts of each class that a folder without splits lends to validation and test."""


@dataclass(frozen=True)
class Photo:
    """A photo of a data set.

    Attributes:
        file: Path relative to the data folder, with forward slashes.
        split: train, valid or test.
        label: Name of its class.
        content: SHA-256 of the file; of an S3 object, of what its listing says of its content (source.py).
    """

    file: str
    split: str
    label: str
    content: bytes


@dataclass(frozen=True)
class Dataset:
    """The photos of a data folder, sorted by file.

    Attributes:
        root: The folder, as it was named.
        source: Reads its files.
        photos: What was found.
        class_folders: Split and class of every class folder, those without a photo included.
        strangers: Files in class folders that are not photos by their name, relative to the folder.
        unreadable: Files that could not be opened, with the reason.
    """

    root: Path
    source: Source
    photos: tuple[Photo, ...]
    class_folders: tuple[tuple[str, str], ...]
    strangers: tuple[str, ...]
    unreadable: Mapping[str, str]

    @property
    def name(self) -> str:
        """What a person calls the folder."""
        return self.source.path()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that have a photo to train on, sorted: the order of the logits."""
        return tuple(sorted({photo.label for photo in self.photos if photo.split == "train"}))

    def count(self, split: str) -> int:
        """Number of photos in a split."""
        return sum(photo.split == split for photo in self.photos)

    def fingerprint(self) -> str:
        """``sha256:`` and a digest of which content has which label in which split, whatever the files' names."""
        lines = sorted(f"{photo.split}\t{photo.label}\t{photo.content.hex()}\n" for photo in self.photos)
        return "sha256:" + hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def read_dataset(data: Path | str) -> Dataset:
    """Reads a folder of ``SPLIT/CLASS/*`` photos, or of ``CLASS/*`` photos, which are split by content hash.

    Hidden files are passed over. Without a valid split, a part of the train split becomes one.

    Args:
        data: A folder, or ``s3://BUCKET/PREFIX``, of which nothing but the listing is read.

    Raises:
        TrainingError: If the folder does not exist or does not look like either.
    """
    source = open_source(data)
    folders = _class_folders(source)
    found = [(split, label, file) for split, label, folder in folders for file in source.files(folder)]
    named = [(split, label, file) for split, label, file in found if _is_photo(file)]
    photos: list[Photo] = []
    unreadable: dict[str, str] = {}
    with ThreadPoolExecutor() as pool:
        contents = pool.map(lambda one: _content(source, one[2]), named)
        for (split, label, file), content in zip(named, contents, strict=True):
            if isinstance(content, str):
                unreadable[file] = content
            else:
                photos.append(Photo(file, split, label, content))
    photos.sort(key=lambda photo: photo.file)
    if all(split == "" for split, *_ in folders):
        photos = split_by_content(photos, _HELD_OUT)
    elif not any(photo.split == "valid" for photo in photos):
        train = split_by_content([photo for photo in photos if photo.split == "train"], {"valid": _HELD_OUT["valid"]})
        photos = sorted(train + [photo for photo in photos if photo.split == "test"], key=lambda photo: photo.file)
    return Dataset(
        root=Path(data),
        source=source,
        photos=tuple(photos),
        class_folders=tuple((split, label) for split, label, _ in folders),
        strangers=tuple(sorted(file for *_, file in found if not _is_photo(file))),
        unreadable=unreadable,
    )


def split_by_content(photos: Sequence[Photo], parts: Mapping[str, float]) -> list[Photo]:
    """Splits photos class by class, in the order of their content's digests.

    The same folder is always split the same way, whatever its files are called, and copies of a photo stay together.

    Args:
        photos: Their own splits are ignored.
        parts: Fraction of each class that goes to a split, at least one photo of a class that can spare it; the rest
            is for training.
    """
    contents: dict[str, set[bytes]] = defaultdict(set)
    for photo in photos:
        contents[photo.label].add(photo.content)
    placed: dict[tuple[str, bytes], str] = {}
    for label, digests in contents.items():
        waiting = iter(sorted(digests))
        for split, part in parts.items():
            wanted = max(1, round(part * len(digests))) if len(digests) > len(parts) else 0
            placed.update({(label, digest): split for _, digest in zip(range(wanted), waiting, strict=False)})
    return [replace(photo, split=placed.get((photo.label, photo.content), "train")) for photo in photos]


def pixel_digest(photo: Pixels) -> bytes:
    """Digests a decoded photo, uint8 [H, W, 3]: equal for copies that differ in metadata or lossless encoding.

    It finds copies, and nobody gains by forging one, so it is not a cryptographic digest: those take as long as the
    decoding.
    """
    height, width, _ = photo.shape
    digest = xxhash.xxh3_128(b"%dx%d\n" % (width, height))
    digest.update(np.ascontiguousarray(photo).data)
    return digest.digest()


def shared_between_splits(photos: Iterable[tuple[bytes, Photo]]) -> list[list[Photo]]:
    """Finds pictures that lie in more than one split.

    Args:
        photos: Photos, each with a digest that equal pictures share.

    Returns:
        The photos of every such picture, in the order of their files.
    """
    groups: dict[bytes, list[Photo]] = defaultdict(list)
    for digest, photo in photos:
        groups[digest].append(photo)
    return [group for group in groups.values() if len({photo.split for photo in group}) > 1]


def read_clean_files(source: Source) -> frozenset[str] | None:
    """Reads which photos the backbone cannot have seen in pretraining.

    ``manifest.csv`` in the data folder says so in its columns ``file`` and ``imagenet_split``: a photo whose
    ``imagenet_split`` is ``train`` is one of the photos ImageNet backbones were trained on.

    Returns:
        Their paths relative to the folder, or None where there is no such manifest.
    """
    if not source.has("manifest.csv"):
        return None
    rows = csv.DictReader(io.StringIO(source.read("manifest.csv").decode("utf-8-sig"), newline=""))
    if not {"file", "imagenet_split"} <= set(rows.fieldnames or ()):
        return None
    return frozenset(row["file"] for row in rows if row["imagenet_split"] != "train")


def _class_folders(source: Source) -> list[tuple[str, str, str]]:
    """Returns split ("" where the folder has none), class and path of every class folder."""
    top = source.folders()
    splits: dict[str, str] = {}
    for name in top:
        split = _SPLIT_NAMES.get(name.lower())
        if split in splits:
            raise TrainingError(
                f"{source.path(splits[split])} and {source.path(name)} both look like the {split} split; keep one."
            )
        if split:
            splits[split] = name
    if not splits:
        return [("", _label(name), name) for name in top]
    if "train" not in splits:
        raise TrainingError(
            f"{source.path()} has a folder {next(iter(splits.values()))} but none called train; add it."
        )
    return [
        (split, _label(name), f"{splits[split]}/{name}")
        for split in SPLITS
        if split in splits
        for name in source.folders(splits[split])
    ]


def _label(folder: str) -> str:
    # macOS may hand out the same name decomposed
    return unicodedata.normalize("NFC", folder)


def _is_photo(file: str) -> bool:
    return PurePosixPath(file).suffix.lower() in PHOTO_SUFFIXES


def _content(source: Source, file: str) -> bytes | str:
    """Returns what identifies a file's content, or why it cannot be read."""
    try:
        return source.content(file)
    except OSError as error:
        return error.strerror or str(error)
