"""What a training job leaves in S3: its model, its other output, and its checkpoints.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-output.html
https://docs.aws.amazon.com/sagemaker/latest/dg/model-checkpoints.html
"""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from whippet.local.jobs.channels import Data
from whippet.local.jobs.storage import Location, Storage


def upload(
    folders: Sequence[Path], storage: Storage, output: Location, name: str, is_packed: bool, kms_key: str | None
) -> None:
    """Stores what some folders hold, as NAME.tar.gz or as files below NAME/; nothing if they hold nothing.

    Args:
        folders: of the instances; of two files of one name, that of the first stays.
        storage: writes.
        output: below it.
        name: `model` or `output`.
        is_packed: whether they become one archive.
        kms_key: encrypts them.

    Raises:
        StorageError: the role may not write there.
    """
    files = _merged(folders)
    if not files:
        return
    if is_packed:
        storage.put(output / f"{name}.tar.gz", _packed(files, folders[0].parent / f"{name}.tar.gz"), kms_key)
        return
    for path, file in files.items():
        storage.put(output / name / path, file.read_bytes(), kms_key)


def _merged(folders: Sequence[Path]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for folder in folders:
        for file in _regular_files(folder):
            files.setdefault(file.relative_to(folder).as_posix(), file)
    return files


def _regular_files(folder: Path) -> Iterator[Path]:
    """Files and nothing else: what a link or a socket stands for lies outside of the job."""
    for path in sorted(folder.rglob("*")):
        if stat.S_ISREG(path.lstat().st_mode):
            yield path


def _packed(files: dict[str, Path], archive: Path) -> bytes:
    with tarfile.open(archive, "w:gz") as packed:
        for name, file in files.items():
            packed.add(file, name, recursive=False)
    content = archive.read_bytes()
    archive.unlink()
    return content


class Checkpoints:
    """Keeps a folder of an instance and a place in S3 alike.

    Args:
        folder: the folder.
        location: the place.
    """

    def __init__(self, folder: Path, location: Location) -> None:
        self._folder = folder
        self._location = location
        self._uploaded: dict[Path, tuple[int, int]] = {}

    def download(self, storage: Storage) -> None:
        """Fills the folder with what an earlier job has left.

        Raises:
            StorageError: the role may not read there.
            ChannelError: an object has a key that cannot be a file's path.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        prefix = self._location / ""
        found = {one.key.removeprefix(prefix.key): one for one in storage.list(prefix) if not one.key.endswith("/")}
        for path, location in found.items():
            Data.write(path, location, storage, self._folder)
        self._uploaded = {file: _version(file) for file in _regular_files(self._folder)}

    def upload(self, storage: Storage) -> None:
        """Stores what is new since the last time.

        Raises:
            StorageError: the role may not write there.
        """
        for file in _regular_files(self._folder):
            version = _version(file)
            if self._uploaded.get(file) != version:
                storage.put(self._location / file.relative_to(self._folder).as_posix(), file.read_bytes())
                self._uploaded[file] = version


def _version(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns
