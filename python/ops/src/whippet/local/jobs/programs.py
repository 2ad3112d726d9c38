"""What a training job runs: a script, as SageMaker's toolkit runs it, or an entry point of its own.

https://github.com/aws/sagemaker-training-toolkit
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-dockerfile.html
"""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from whippet.local.jobs.environment import Layout, decode, flags, user_hyperparameters
from whippet.local.jobs.storage import Location, Storage, StorageError

NO_PROGRAM = (
    "Local AWS runs no images. Name a program: by the hyperparameters sagemaker_program and "
    "sagemaker_submit_directory, as script mode does, or by ContainerEntrypoint in AlgorithmSpecification."
)

#: What SageMaker's SDK asks for unless it is told otherwise.
DEFAULT_VOLUME_GB = 30


class ProgramError(Exception):
    """The program cannot be had or started; the text is what SageMaker's toolkit would say."""


class Program(Protocol):
    """What the instances of a job run."""

    def fetch(self, layout: Layout, storage: Storage) -> None:
        """Brings it to an instance.

        Raises:
            ProgramError: it is not there.
        """
        ...

    def command(self, layout: Layout) -> tuple[list[str], Path]:
        """The command of an instance, and the folder that it runs in."""
        ...

    def explain(self, exit_code: int, tail: str) -> str:
        """What is said of a failure of which the program itself says nothing.

        Args:
            exit_code: of the process.
            tail: the last lines of its log.
        """
        ...


@dataclass(frozen=True)
class EntryPoint:
    """A command in place of an image's own; SDK v3 starts every program so.

    Attributes:
        words: ContainerEntrypoint and ContainerArguments.
    """

    words: tuple[str, ...]

    def fetch(self, layout: Layout, storage: Storage) -> None:
        """Nothing: the channels bring it."""

    def command(self, layout: Layout) -> tuple[list[str], Path]:
        """The words, with the instance's folder in place of /opt/ml."""
        return [layout.localise(word) for word in self.words], layout.root

    def explain(self, exit_code: int, tail: str) -> str:
        """Nothing: SageMaker knows the exit code alone."""
        return ""


@dataclass(frozen=True)
class Script:
    """A script in an archive, which gets the hyperparameters as flags.

    Attributes:
        python: runs it.
        name: its name in the archive.
        source: the archive, in S3 or on the instance, or a folder of the instance.
        hyperparameters: as they are given.
        is_isolated: the instance has no network, and so no S3.
        volume_bytes: what an instance has room for.
    """

    python: tuple[str, ...]
    name: str
    source: str
    hyperparameters: Mapping[str, str]
    is_isolated: bool
    volume_bytes: int

    def fetch(self, layout: Layout, storage: Storage) -> None:
        """Unpacks the archive into the folder of the code; its requirements.txt is not installed."""
        try:
            archive = self._archive(layout, storage)
            if archive.is_dir():
                shutil.copytree(archive, layout.code, dirs_exist_ok=True)
                return
            with tarfile.open(archive, "r:gz") as packed:
                packed.extractall(layout.code, members=_members(packed, self.volume_bytes), filter="data")
        except (StorageError, OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise ProgramError(f"framework error: \n{type(error).__name__}: {self.source}: {error}") from None

    def _archive(self, layout: Layout, storage: Storage) -> Path:
        """The archive, or the folder, on the instance.

        Raises:
            StorageError: S3 does not give it.
            FileNotFoundError: it would be outside of /opt/ml, where this machine has files that no instance has.
        """
        if self.source.startswith("s3://"):
            if self.is_isolated:
                raise StorageError("Unable to locate credentials")
            archive = layout.root / "code.tar.gz"
            storage.fetch(Location.parse(self.source), archive)
            return archive
        archive = Path(layout.localise(self.source)).resolve()
        if not archive.is_relative_to(layout.root.resolve()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.source)
        return archive

    def command(self, layout: Layout) -> tuple[list[str], Path]:
        """A module of a package, a script, or a command, as the toolkit tells them apart."""
        given = {name: layout.localise(value) for name, value in self.hyperparameters.items()}
        arguments = flags(user_hyperparameters(decode(given)))
        if not self.name.endswith(".sh") and (layout.code / "setup.py").exists():
            return [*self.python, "-m", self.name.removesuffix(".py"), *arguments], layout.code
        if self.name.endswith(".py"):
            return [*self.python, self.name, *arguments], layout.code
        program = layout.code / self.name
        if program.is_file():
            program.chmod(0o755)
        return [str(program), *arguments], layout.code

    def explain(self, exit_code: int, tail: str) -> str:
        """The toolkit's summary."""
        return f'ExecuteUserScriptError:\nExitCode {exit_code}\nErrorMessage "{tail}"'


def _members(packed: tarfile.TarFile, most: int) -> Iterator[tarfile.TarInfo]:
    """The members of an archive, as long as there is room for them: a small archive may hold more than any disk.

    Raises:
        OSError: there is not.
    """
    for member in packed:
        most -= member.size
        if most < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield member


def read_program(description: Mapping[str, Any], python: Sequence[str]) -> Program:
    """Finds out what a job runs.

    Args:
        description: what CreateTrainingJob was given.
        python: runs scripts.

    Raises:
        ValueError: an image alone, which would need Docker; or a program outside of its archive.
    """
    algorithm = description["AlgorithmSpecification"]
    if entry_point := algorithm.get("ContainerEntrypoint"):
        return EntryPoint((*entry_point, *algorithm.get("ContainerArguments", [])))
    hyperparameters: dict[str, str] = description.get("HyperParameters", {})
    decoded = decode(hyperparameters)
    name = decoded.get("sagemaker_program") or description.get("Environment", {}).get("SAGEMAKER_PROGRAM")
    source = decoded.get("sagemaker_submit_directory")
    if not isinstance(name, str) or not isinstance(source, str):
        raise ValueError(NO_PROGRAM)
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise ValueError(f"The program must be in its archive: {name} is not.")
    return Script(
        tuple(python),
        name,
        source,
        hyperparameters,
        is_isolated=bool(description.get("EnableNetworkIsolation")),
        volume_bytes=(description["ResourceConfig"].get("VolumeSizeInGB") or DEFAULT_VOLUME_GB) << 30,
    )
