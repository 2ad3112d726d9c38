"""Archives that are the same bytes for the same input, on every machine."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import struct
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent

Members = Mapping[str, bytes]


def package_members(source: Path, suffixes: tuple[str, ...]) -> dict[str, bytes]:
    """The files of a Python package by their names in an archive that holds the package at its root.

    Raises:
        FileNotFoundError: The package is not there, or holds no such file.
    """
    files = [path for path in source.rglob("*") if path.suffix in suffixes and "__pycache__" not in path.parts]
    if not files:
        raise FileNotFoundError(f"{source.relative_to(ROOT)} holds no package: run this in a complete checkout")
    return {str(PurePosixPath(path.relative_to(source.parent))): path.read_bytes() for path in files}


def zip_bytes(members: Members) -> bytes:
    """A zip whose bytes depend on its members alone: stored, since zlib's versions deflate differently."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(members.items()):
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # the first date that a zip can hold
            member.create_system = 3  # Unix, wherever it is built
            member.external_attr = 0o100644 << 16
            archive.writestr(member, data)
    return buffer.getvalue()


def tar_gz_bytes(members: Members) -> bytes:
    """A .tar.gz whose bytes depend on its members alone: SageMaker takes source in no other form."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in sorted(members.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(data))
    return gzip_stored(buffer.getvalue())


def gzip_stored(data: bytes) -> bytes:
    """A gzip file that holds the data as it is, in the largest blocks there are.

    Written here, since even at level 0 it is zlib's version and Python's buffering that decide where a block ends.
    The formats are RFC 1952 (gzip) and RFC 1951, section 3.2.4 (stored blocks).
    """
    header = b"\x1f\x8b\x08" + bytes(6) + b"\xff"  # deflate; no flags, time or level; no operating system named
    blocks = [data[start : start + 0xFFFF] for start in range(0, len(data), 0xFFFF)] or [b""]
    stored = b"".join(
        struct.pack("<BHH", block is blocks[-1], len(block), len(block) ^ 0xFFFF) + block for block in blocks
    )
    return header + stored + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(data)
            file.flush()
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def parser(description: str, default_out: str, example: str) -> argparse.ArgumentParser:
    """The command line of a build script.

    Args:
        description: For --help.
        default_out: Where the archive goes, below the checkout.
        example: Arguments.
    """
    script = Path(sys.argv[0]).name
    made = argparse.ArgumentParser(description=description, epilog=f"example: python scripts/{script} {example}")
    made.add_argument("--out", type=Path, help=f"where to write it [{default_out}]")
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def main(
    arguments: argparse.Namespace,
    default_out: str,
    limit: int,
    members: Callable[[], Members],
    pack: Callable[[Members], bytes],
) -> int:
    """Builds one archive, prints its size, file count and hash, and returns the exit code.

    Args:
        arguments: Of the `parser`.
        default_out: Where the archive goes, below the checkout.
        limit: The most bytes it may have.
        members: Gives its files.
        pack: Makes the archive of them.
    """
    script = Path(sys.argv[0]).name
    out = arguments.out or ROOT / default_out
    try:
        files = members()
        data = pack(files)
        if len(data) > limit:
            raise OSError(
                f"the archive has {len(data)} bytes, over its limit of {limit}: remove files from the package"
            )
        write_whole(out, data)
    except OSError as error:
        print(f"{script}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    facts = {
        "path": str(out),
        "bytes": len(data),
        "files": len(files),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    if arguments.json:
        print(json.dumps(facts))
    else:
        print(f"{facts['path']}: {facts['bytes']} bytes, {facts['files']} files, sha256 {facts['sha256']}")
    return 0
