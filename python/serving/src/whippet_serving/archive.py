"""Reads a model archive: model.tar.gz as training packs it, or the folder it unpacks to."""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from whippet_serving.preprocessing import Preprocessing

MAX_UNPACKED_BYTES = 2 * 2**30
"""What an archive may unpack to. The largest backbones that timm holds fit; a gzip bomb does not fill the disk."""


class ModelError(Exception):
    """A model that cannot be served; the text is one line that says why."""


@dataclass(frozen=True)
class Archive:
    """An unpacked model archive.

    Attributes:
        folder: Where the weights lie.
        id: The weights' fingerprint.
        name: The model's name.
        backbone: The network that makes the features.
        classes: Class names in the order of the logits.
        preprocessing: What the network expects of a photo.
        weights: File name per format: ``openvino``, ``onnx``, ``torchscript``.
    """

    folder: Path
    id: str
    name: str
    backbone: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    weights: dict[str, str]

    def weights_file(self, format_: str) -> Path:
        """Return where the weights of a format lie.

        Raises:
            ModelError: If model.json names a file that the archive does not hold.
        """
        path = self.folder / self.weights[format_]
        if not path.is_file():
            raise ModelError(
                f"model.json names the weights {path.name}, but they are not in the archive: pack it again"
            )
        return path


@contextmanager
def open_archive(path: Path, max_bytes: int = MAX_UNPACKED_BYTES) -> Iterator[Archive]:
    """Open a model archive; one that is packed lies in a temporary folder until the context ends.

    Args:
        path: A model.tar.gz, or the folder it was unpacked to.
        max_bytes: A packed archive with more than this is refused before it fills the disk.

    Raises:
        ModelError: If there is no archive, it is damaged or too large, or its model.json does not fit the schema.
    """
    if path.is_dir():
        yield read_archive(path)
    elif path.is_file():
        folder = Path(tempfile.mkdtemp(prefix="whippet-model-"))
        try:
            _unpack(path, folder, max_bytes)
            yield read_archive(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    else:
        raise ModelError(f"there is no model at {path}: give a model.tar.gz or the folder it was unpacked to")


def _unpack(path: Path, folder: Path, max_bytes: int) -> None:
    unpacked = 0
    try:
        # read as a stream, so that what a member claims is checked before it is unpacked
        with tarfile.open(path, mode="r|gz") as archive:
            for member in archive:
                unpacked += member.size
                if unpacked > max_bytes:
                    raise ModelError(f"{path.name} unpacks to more than {max_bytes} bytes: it is not a model archive")
                archive.extract(member, folder, filter="data")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ModelError(f"{path.name} is not a whole .tar.gz archive ({_first_line(error)}): pack it again") from error
    except OSError as error:  # gzip's complaint about a bad file is one, and so is a full disk
        raise ModelError(f"cannot unpack {path.name}: {_first_line(error)}") from error


def read_archive(folder: Path) -> Archive:
    """Read the model.json of an unpacked archive.

    Raises:
        ModelError: If it is missing, not JSON, or does not fit the schema.
    """
    try:
        document = json.loads((folder / "model.json").read_bytes())
    except FileNotFoundError:
        raise ModelError("the archive holds no model.json: give one that Whippet's training packed") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read model.json: {_first_line(error)}") from error
    if mismatch := best_match(Draft202012Validator(_schema()).iter_errors(document)):
        # the message quotes the offending value, which may be the whole document
        message = mismatch.message if len(mismatch.message) <= 200 else f"breaks the rule {mismatch.validator!r}"
        raise ModelError(f"model.json does not fit the schema at {mismatch.json_path}: {message}")
    preprocessing = document["preprocessing"]
    return Archive(
        folder=folder,
        id=document["id"],
        name=document["name"],
        backbone=document["backbone"],
        classes=tuple(document["classes"]),
        preprocessing=Preprocessing(
            resize=preprocessing["resize"],
            crop=preprocessing["crop"],
            interpolation=preprocessing["interpolation"],
            mean=tuple(preprocessing["mean"]),
            std=tuple(preprocessing["std"]),
        ),
        weights=document["weights"],
    )


def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(resources.files(__package__).joinpath("model.schema.json").read_bytes())
    return schema


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
