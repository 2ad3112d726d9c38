"""Checkpoints: what a training needs to go on as if it had not been interrupted, written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from whippet_training.console import stderr
from whippet_training.errors import TrainingError

_SUFFIX = ".checkpoint"
_KEPT = 2
_MAGIC = b"whippet checkpoint 1\n"


class Checkpoints:
    """A folder of checkpoints of one training, the last two kept.

    Args:
        folder: Is made if it is not there.
        identity: What decides the training's result; a checkpoint of another training is refused.
        every_seconds: Time between checkpoints.
        every_steps: Steps between checkpoints, whichever comes first; None for no limit.
        clock: Measures the time.

    Raises:
        TrainingError: If the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        every_seconds: float = 300.0,
        every_steps: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._identity = folder, {name: repr(value) for name, value in identity.items()}
        self._every_seconds, self._every_steps, self._clock = every_seconds, every_steps, clock
        self._last_time, self._last_step = clock(), 0
        self._warned = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(f".*{_SUFFIX}"):
                left.unlink(missing_ok=True)
        except OSError as error:
            raise TrainingError(
                f"Checkpoints cannot be kept in {folder}: {error.strerror}; pass another folder."
            ) from error

    def due(self, step: int) -> bool:
        """Whether it is time for a checkpoint after so many steps."""
        return (self._every_steps is not None and step - self._last_step >= self._every_steps) or (
            self._clock() - self._last_time >= self._every_seconds
        )

    def write(self, step: int, state: Mapping[str, Any]) -> bool:
        """Writes a checkpoint; if it cannot be written, warns once, and the earlier ones stay.

        Args:
            step: Steps done so far.
            state: Tensors, numbers, texts, and lists and dictionaries of these.

        Returns:
            Whether it was written.
        """
        self._last_time, self._last_step = self._clock(), step
        try:
            self._write(self._folder / f"{step:09}{_SUFFIX}", {"identity": self._identity, "state": dict(state)})
        except OSError as error:
            if not self._warned:
                stderr.print(
                    f"warning: no checkpoint was written to {self._folder}: {error.strerror or error}; "
                    "the training goes on, and the earlier checkpoint stays",
                    soft_wrap=True,
                )
            self._warned = True
            return False
        self._warned = False
        for old in self._found()[_KEPT:]:
            old.unlink(missing_ok=True)
        return True

    def read(self) -> dict[str, Any] | None:
        """Reads the newest checkpoint that is whole; None if there is none.

        Raises:
            TrainingError: If it is of another training.
        """
        for path in self._found():
            document = _read(path)
            if document is None:
                stderr.print(f"warning: {path} is damaged; the checkpoint before it is used", soft_wrap=True)
                continue
            self._refuse_others(document["identity"])
            state: dict[str, Any] = document["state"]
            return state
        return None

    def clear(self) -> None:
        """Deletes the checkpoints, once the training is over."""
        for path in self._found():
            path.unlink(missing_ok=True)

    def _found(self) -> list[Path]:
        return sorted(self._folder.glob(f"[0-9]*{_SUFFIX}"), reverse=True)

    def _refuse_others(self, identity: Mapping[str, str]) -> None:
        for name in sorted(identity.keys() | self._identity.keys()):
            there, here = identity.get(name, "nothing"), self._identity.get(name, "nothing")
            if there != here:
                raise TrainingError(
                    f"{self._folder} holds checkpoints of another training ({name} is {there} there and {here} here); "
                    "pass another folder, or delete it."
                )

    def _write(self, path: Path, document: Mapping[str, Any]) -> None:
        payload = io.BytesIO()
        torch.save(document, payload)
        content = payload.getbuffer()
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=_SUFFIX, dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC)
                file.write(hashlib.sha256(content).digest())
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        with contextlib.suppress(OSError):  # some file systems cannot; the rename is done
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + 32
    if not content.startswith(_MAGIC) or hashlib.sha256(content[start:]).digest() != content[len(_MAGIC) : start]:
        return None
    try:
        document: dict[str, Any] = torch.load(io.BytesIO(content[start:]), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError):
        return None
    return document


@dataclass
class Interruption:
    """Whether a signal has asked the training to end.

    Attributes:
        signal: Its number; 0 if there was none.
    """

    signal: int = 0


@contextmanager
def interruptions() -> Iterator[Interruption]:
    """Takes note of SIGINT and SIGTERM instead of ending the process; a second SIGINT ends it at once."""
    seen = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def note(number: int, _: Any) -> None:
        if seen.signal == number == signal.SIGINT:
            raise KeyboardInterrupt
        seen.signal = number

    earlier = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
