"""Where photos lie: a folder of this machine, or a prefix of an S3 bucket (remote.py)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from whippet_training.errors import TrainingError

_S3 = "s3:/"
"""How an address in S3 begins once pathlib has made one slash of two."""


class Source(Protocol):
    """A tree of files. Names are relative to it, with forward slashes; hidden files and folders are not told of."""

    def path(self, name: str = "") -> str:
        """What a person calls a file or folder of it."""
        ...

    def folders(self, below: str = "") -> list[str]:
        """Names of the folders that lie directly in a folder, sorted."""
        ...

    def files(self, below: str) -> Iterator[str]:
        """The files at any depth below a folder."""
        ...

    def has(self, file: str) -> bool:
        """Whether there is such a file."""
        ...

    def content(self, file: str) -> bytes:
        """32 bytes that identify a file's content: the same for the same bytes, as far as the source can tell.

        Raises:
            OSError: If the file cannot be read.
        """
        ...

    def read(self, file: str) -> bytes:
        """The bytes of a file.

        Raises:
            OSError: If this file cannot be read.
            TrainingError: If the source as a whole fails.
        """
        ...

    def reader(self, files: Sequence[str]) -> AbstractContextManager[Callable[[int], bytes]]:
        """Reads files that are asked for once each, roughly in order, by their numbers and from several threads.

        Args:
            files: The only ones that are fetched.
        """
        ...


class Folder:
    """A folder of this machine.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str = "") -> str:
        """See Source."""
        return str(self._root / name)

    def folders(self, below: str = "") -> list[str]:
        """See Source."""
        places = sorted((self._root / below).iterdir())
        return [place.name for place in places if place.is_dir() and not place.name.startswith(".")]

    def files(self, below: str) -> Iterator[str]:
        """See Source; a link that leads back up is not followed again, and pipes and devices are none."""
        seen: set[tuple[int, int]] = set()
        for place, folders, files in os.walk(self._root / below, followlinks=True):
            status = Path(place).stat()
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                path = Path(place, name)
                # a broken link is named among the unreadable files; who reads a pipe waits for a writer
                if not name.startswith(".") and (path.is_file() or not path.exists()):
                    yield path.relative_to(self._root).as_posix()

    def has(self, file: str) -> bool:
        """See Source."""
        return (self._root / file).is_file()

    def content(self, file: str) -> bytes:
        """See Source: the SHA-256 of the file."""
        return hashlib.sha256(self.read(file)).digest()

    def read(self, file: str) -> bytes:
        """See Source."""
        return (self._root / file).read_bytes()

    @contextmanager
    def reader(self, files: Sequence[str]) -> Iterator[Callable[[int], bytes]]:
        """See Source: whoever asks reads, as the disk is no slower than its cache."""
        yield lambda number: self.read(files[number])


def is_remote(data: Path | str) -> bool:
    """Whether an address is one of S3 and not of this machine."""
    return str(data).startswith(_S3)


def address(data: Path | str) -> str:
    """What a person calls the data: pathlib makes ``s3:/bucket`` of ``s3://bucket``."""
    text = str(data)
    return text.replace(_S3, "s3://", 1) if is_remote(text) and not text.startswith("s3://") else text


def place(data: Path | str) -> str:
    """The address of the data wherever one stands: the same data have the same one."""
    return address(data) if is_remote(data) else str(Path(data).resolve())


def open_source(data: Path | str) -> Source:
    """Opens a folder, or ``s3://BUCKET/PREFIX``.

    Raises:
        TrainingError: If there is nothing like that.
    """
    if is_remote(data):
        from whippet_training.remote import open_bucket

        return open_bucket(address(data))
    if not Path(data).is_dir():
        raise TrainingError(f"{data} is not a folder; pass a folder of SPLIT/CLASS/*.jpg photos.")
    return Folder(Path(data))
