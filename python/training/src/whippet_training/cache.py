"""Feature vectors on disk, by the content of the photo and the view of it they belong to.

A cache is a folder of segments. A process appends what it computes to a segment of its own and reads everybody's, so
any number of processes may share a cache without a lock. Every record carries a checksum: what an interrupted process
wrote before it died is kept, and a torn or damaged record counts as absent.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import zlib
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from whippet_training.console import stderr
from whippet_training.inference import Floats

PIXEL_DIGEST_BYTES = 16

Key = tuple[bytes, int]
"""SHA-256 of a photo's file, and the number of a view of it (views.py)."""


@dataclass(frozen=True)
class Entry:
    """What is known of a view of a photo.

    Attributes:
        pixels: Digest of the decoded photo: the same for a copy with other metadata.
        feature: The backbone's feature vector, float32 [width].
    """

    pixels: bytes
    feature: Floats


class FeatureCache:
    """A folder of feature segments for one backbone, preprocessing and engine.

    Use it as a context manager; the segment is closed on exit.

    Args:
        folder: Where the segments lie; None keeps nothing.
        width: Length of a feature vector.
    """

    def __init__(self, folder: Path | None, width: int) -> None:
        self._folder = folder
        self._record = np.dtype(
            [
                ("content", "V32"),
                ("view", "<u2"),
                ("pixels", f"V{PIXEL_DIGEST_BYTES}"),
                ("feature", "<f4", (width,)),
                ("checksum", "<u4"),
            ]
        )
        self._segment: BinaryIO | None = None

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._segment is not None:
            with contextlib.suppress(OSError):  # of a full disk: what could not be written is computed again
                self._segment.close()

    def read(self, keys: Set[Key]) -> dict[Key, Entry]:
        """Reads the entries of these views, as far as they are held intact."""
        if self._folder is None or not self._folder.is_dir():
            return {}
        entries: dict[Key, Entry] = {}
        size = self._record.itemsize
        for path in sorted(self._folder.glob("*.features")):
            segment = path.read_bytes()
            # One record at a time: a segment may end in half a record, its writer being killed or still at work.
            for start in range(0, len(segment) - size + 1, size):
                key = segment[start : start + 32], int.from_bytes(segment[start + 32 : start + 34], "little")
                if key not in keys or key in entries:
                    continue
                if zlib.crc32(segment[start : start + size - 4]) != int.from_bytes(
                    segment[start + size - 4 : start + size], "little"
                ):
                    continue
                record = np.frombuffer(segment, self._record, count=1, offset=start)[0]
                entries[key] = Entry(bytes(record["pixels"]), record["feature"])
        return entries

    def write(self, key: Key, entry: Entry) -> None:
        """Appends the entry of a view; if that fails, warns once and keeps nothing from then on."""
        if self._folder is None:
            return
        try:
            self._append(self._folder, key, entry)
        except OSError as error:
            stderr.print(
                f"warning: features are no longer kept: {error.strerror or error}: {self._folder}", soft_wrap=True
            )
            self._folder = None

    def _append(self, folder: Path, key: Key, entry: Entry) -> None:
        if self._segment is None:
            folder.mkdir(parents=True, exist_ok=True)
            self._segment = (folder / f"{os.getpid()}-{secrets.token_hex(6)}.features").open("xb")
        content, view = key
        body = content + view.to_bytes(2, "little") + entry.pixels + entry.feature.astype("<f4").tobytes()
        self._segment.write(body + zlib.crc32(body).to_bytes(4, "little"))
