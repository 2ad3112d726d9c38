"""What a Lambda environment runs: the function's code, and the packages that AWS's Python runtime has, nothing else.

A function that imports what its zip lacks fails here as it fails there, whatever this Python has installed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
import shutil
import sys
import tempfile
import zipfile
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

#: -S: no site-packages; -s: none of the user's either.
COMMAND = (sys.executable, "-S", "-s", "-m", "awslambdaric")


class BadCodeError(Exception):
    """A deployment package cannot be unpacked; the text says why."""


def link_packages(folder: Path) -> None:
    """Fills a folder with links to the runtime's packages."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in RUNTIME_DISTRIBUTIONS:
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
            link = folder / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))))


def unpack(code: bytes, folder: Path) -> Path:
    """Unpacks a deployment package, once for the same bytes.

    Args:
        code: the zip.
        folder: where the unpacked packages are.

    Returns:
        The folder with the code.

    Raises:
        BadCodeError: it is not a zip, or a path in it leads out of its folder.
    """
    target = folder / hashlib.sha256(code).hexdigest()
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder))
    try:
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            archive.extractall(partial)
    except (zipfile.BadZipFile, OSError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise BadCodeError(f"The deployment package cannot be unpacked: {error}") from error
    try:
        os.rename(partial, target)  # noqa: PTH104 - atomic: another call may unpack the same package
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
    return target
