"""Finds the photos of a data folder, puts them into splits and identifies them by content."""

from __future__ import annotations

import csv
import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import xxhash
from PIL.Image import Image

from whippet_training.errors import TrainingError

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
        content: SHA-256 of the file.
    """

    file: str
    split: str
    label: str
    content: bytes


@dataclass(frozen=True)
class Dataset:
    """The photos of a data folder, sorted by file.

    Attributes:
        root: The folder.
        photos: What was found.
        class_folders: Split and class of every class folder, those without a photo included.
        strangers: Files in class folders that are not photos by their name, relative to the folder.
        unreadable: Files that could not be opened, with the reason.
    """

    root: Path
    photos: tuple[Photo, ...]
    class_folders: tuple[tuple[str, str], ...]
    strangers: tuple[str, ...]
    unreadable: Mapping[str, str]

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
        return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def read_dataset(root: Path) -> Dataset:
    """Reads a folder of ``SPLIT/CLASS/*`` photos, or of ``CLASS/*`` photos, which are split by content hash.

    Hidden files are passed over. Without a valid split, a part of the train split becomes one.

    Raises:
        TrainingError: If the folder does not exist or does not look like either.
    """
    if not root.is_dir():
        raise TrainingError(f"{root} is not a folder; pass a folder of SPLIT/CLASS/*.jpg photos.")
    folders = _class_folders(root)
    found = [(split, label, path) for split, label, folder in folders for path in _walk(folder)]
    named = [(split, label, path) for split, label, path in found if path.suffix.lower() in PHOTO_SUFFIXES]
    strangers = [path.relative_to(root).as_posix() for *_, path in found if path.suffix.lower() not in PHOTO_SUFFIXES]
    photos: list[Photo] = []
    unreadable: dict[str, str] = {}
    with ThreadPoolExecutor() as pool:
        for (split, label, path), content in zip(
            named, pool.map(_hash_file, [path for *_, path in named]), strict=True
        ):
            file = path.relative_to(root).as_posix()
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
        root=root,
        photos=tuple(photos),
        class_folders=tuple((split, label) for split, label, _ in folders),
        strangers=tuple(sorted(strangers)),
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


def pixel_digest(photo: Image) -> bytes:
    """Digests a decoded photo: equal for copies that differ in metadata or lossless encoding.

    It finds copies, and nobody gains by forging one, so it is not a cryptographic digest: those take as long as the
    decoding.
    """
    digest = xxhash.xxh3_128(b"%dx%d\n" % photo.size)
    digest.update(photo.tobytes())
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


def read_clean_files(root: Path) -> frozenset[str] | None:
    """Reads which photos the backbone cannot have seen in pretraining.

    ``manifest.csv`` in the data folder says so in its columns ``file`` and ``imagenet_split``: a photo whose
    ``imagenet_split`` is ``train`` is one of the photos ImageNet backbones were trained on.

    Returns:
        Their paths relative to the folder, or None where there is no such manifest.
    """
    manifest = root / "manifest.csv"
    if not manifest.is_file():
        return None
    with manifest.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        if not {"file", "imagenet_split"} <= set(rows.fieldnames or ()):
            return None
        return frozenset(row["file"] for row in rows if row["imagenet_split"] != "train")


def _class_folders(root: Path) -> list[tuple[str, str, Path]]:
    """Returns split ("" where the folder has none), class and path of every class folder."""
    top = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    splits: dict[str, Path] = {}
    for path in top:
        split = _SPLIT_NAMES.get(path.name.lower())
        if split in splits:
            raise TrainingError(f"{splits[split]} and {path} both look like the {split} split; keep one.")
        if split:
            splits[split] = path
    if not splits:
        return [("", _label(path), path) for path in top]
    if "train" not in splits:
        raise TrainingError(f"{root} has a folder {next(iter(splits.values())).name} but none called train; add it.")
    return [
        (split, _label(path), path)
        for split in SPLITS
        if split in splits
        for path in sorted(splits[split].iterdir())
        if path.is_dir() and not path.name.startswith(".")
    ]


def _label(folder: Path) -> str:
    # macOS may hand out the same name decomposed
    return unicodedata.normalize("NFC", folder.name)


def _walk(folder: Path) -> Iterator[Path]:
    """Yields the files below a folder, hidden ones excepted; a link that leads back up is not followed again."""
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))


def _hash_file(path: Path) -> bytes | str:
    """Returns a file's SHA-256, or why it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        return error.strerror or str(error)
