"""What S3 objects and function packages hold: each in a file of its own, so that it is written once and read lazily."""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Iterable
from pathlib import Path


class DamagedError(Exception):
    """What is on disk is not what was written; the text says what is wrong."""


class Content:
    """The bytes of one thing.

    It stands for the temporary file that moto keeps an object of S3 in, and has as much of a file as moto asks for:
    the bytes are read when they are wanted, and no descriptor is held.

    Attributes:
        path: where they are.
        size: how many there are.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self._position = 0

    def seek(self, position: int) -> int:
        """Sets where `read` begins."""
        self._position = position
        return position

    def read(self, size: int = -1) -> bytes:
        """The next bytes, all that are left unless `size` says how many."""
        with self.path.open("rb") as file:
            file.seek(self._position)
            read = file.read(size)
        self._position += len(read)
        return read

    def close(self) -> None:
        """Does nothing: what is to be removed, the state decides."""


class Contents:
    """A folder of contents."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def is_empty(self) -> bool:
        """Whether there are none."""
        return not any(self._folder.iterdir())

    def store(self, data: bytes, name: str | None = None) -> Content:
        """Writes bytes.

        Args:
            data: the bytes.
            name: what they are called, where equal bytes have equal names: those are written once.

        Raises:
            OSError: they cannot be written.
        """
        path = self._folder / (name or uuid.uuid4().hex)
        if name is None or not path.exists():
            partial = path.with_suffix(".partial")
            try:
                partial.write_bytes(data)
                partial.replace(path)
            except OSError:
                partial.unlink(missing_ok=True)
                raise
        return Content(path, len(data))

    def open(self, name: str, size: int) -> Content:
        """Finds what was stored.

        Raises:
            DamagedError: it is not there, or not whole.
        """
        path = self._folder / name
        try:
            found = path.stat().st_size
        except OSError:
            raise DamagedError(f"{name} is missing") from None
        if found != size:
            raise DamagedError(f"{name} has {found} bytes instead of {size}")
        return Content(path, size)

    def drop(self, content: Content) -> None:
        """Removes a content once nobody holds it any more, such as a call that is reading it."""
        weakref.finalize(content, content.path.unlink, missing_ok=True)

    def drop_all_but(self, names: Iterable[str]) -> None:
        """Removes what none of these names names, such as what was written just before the process was killed."""
        kept = set(names)
        for path in self._folder.iterdir():
            if path.name not in kept:
                path.unlink()
