"""What a Lambda environment runs: the function's code, and the packages that AWS's Python runtime has, nothing else.

A function that imports what its zip lacks fails here as it fails there, whatever this Python has installed.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import shutil
import sys
import tempfile
import threading
import zipfile
import zlib
from collections import Counter
from functools import cache
from pathlib import Path

#: The distributions of the managed runtime:
#: https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html#python-sdk-included
RUNTIME_DISTRIBUTIONS = (
    "awslambdaric",
    "boto3",
    "botocore",
    "jmespath",
    "python-dateutil",
    "s3transfer",
    "simplejson",
    "six",
    "snapshot-restore-py",
    "urllib3",
)

UNREADABLE = "Could not unzip uploaded file. Please check your file, then try to upload again."

#: -S: no site-packages; -s: none of the user's either.
COMMAND = (sys.executable, "-S", "-s", "-m", "awslambdaric")


#: Bytes of code that a function may have, unpacked: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_UNPACKED_BYTES = 262_144_000


class BadCodeError(Exception):
    """A deployment package cannot be unpacked; the text says why, in AWS's words."""


def link_packages(folder: Path) -> None:
    """Fills a folder with links to the runtime's packages."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in _packages():
        link = folder / package.name
        if not link.exists():
            link.symlink_to(package)


@cache
def _packages() -> tuple[Path, ...]:
    """The folders and modules of the runtime's packages."""
    found = []
    for name in RUNTIME_DISTRIBUTIONS:
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
        found += [Path(str(distribution.locate_file(top))) for top in sorted(tops)]
    return tuple(found)


class Packages:
    """Unpacked deployment packages, each for as long as somebody uses it.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._users: Counter[Path] = Counter()
        self._lock = threading.Lock()

    def take(self, code: bytes, digest: str) -> Path:
        """Gives the folder with an unpacked package, until `give_back`.

        Args:
            code: the zip.
            digest: what tells it from others, in base64.

        Raises:
            BadCodeError: it cannot be unpacked.
        """
        target = self._folder / digest.translate(str.maketrans("/+=", "_--"))
        with self._lock:
            self._users[target] += 1
        try:
            _unpack(code, target)
        except BaseException:
            self.give_back(target)
            raise
        return target

    def give_back(self, target: Path) -> None:
        """Removes a package that nobody else uses."""
        with self._lock:
            self._users[target] -= 1
            if self._users[target] > 0:
                return
            del self._users[target]
            # Away from its name at once, since another may unpack the same package while this one is being removed.
            doomed = Path(tempfile.mkdtemp(dir=self._folder)) / "package"
            with contextlib.suppress(OSError):
                target.rename(doomed)
        shutil.rmtree(doomed.parent, ignore_errors=True)


def check(code: bytes) -> None:
    """Checks that a deployment package can be unpacked.

    Raises:
        BadCodeError: it cannot.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile as error:
        raise BadCodeError(UNREADABLE) from error
    if size > MAX_UNPACKED_BYTES:  # no member unpacks to more than it says here
        raise BadCodeError(f"Unzipped size must be smaller than {MAX_UNPACKED_BYTES} bytes")


def _unpack(code: bytes, target: Path) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            archive.extractall(partial)
        partial.rename(target)  # atomic: another thread may unpack the same package
    except OSError as error:
        if not target.exists():
            raise BadCodeError(f"The deployment package cannot be unpacked: {error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:  # or it is encrypted
        raise BadCodeError(UNREADABLE) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
