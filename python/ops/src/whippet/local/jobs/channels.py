"""The input of a training job: what its channels name in S3, and how that becomes files.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Channel.html
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_S3DataSource.html
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from whippet.local.jobs.storage import Location, Storage, StorageError, copy

#: Files of a job are read-only, since they are one with those of other jobs.
READ_ONLY = 0o444


class ChannelError(Exception):
    """A channel cannot be had; the text says why, as SageMaker would."""


@dataclass(frozen=True)
class Channel:
    """An input channel.

    Attributes:
        name: its name, and that of its folder.
        source: a prefix of keys, or a manifest.
        is_manifest: which of the two it is.
        is_sharded: each instance gets its share of the objects, not all of them.
        config: what inputdataconfig.json says of it.
    """

    name: str
    source: Location
    is_manifest: bool
    is_sharded: bool
    config: dict[str, str]


def read_channels(inputs: Sequence[Mapping[str, Any]], default_mode: str) -> list[Channel]:
    """Reads InputDataConfig.

    Args:
        inputs: the channels as they are given.
        default_mode: TrainingInputMode of the algorithm.

    Raises:
        ChannelError: one is of a kind that local AWS does not have, or not well formed.
    """
    channels = [_read_channel(given, default_mode) for given in inputs]
    names = [channel.name for channel in channels]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ChannelError(f"Channel names must be unique: {', '.join(repeated)}.")
    return channels


def _read_channel(given: Mapping[str, Any], default_mode: str) -> Channel:
    name = given["ChannelName"]
    if name in (".", ".."):  # which the pattern of channel names lets pass
        raise ChannelError(f"Channel name {name} is not supported.")
    source = given["DataSource"].get("S3DataSource")
    if source is None:
        raise ChannelError(f"Channel {name}: local AWS reads from S3 alone, from no other data source.")
    kind = source["S3DataType"]
    if kind not in ("S3Prefix", "ManifestFile"):
        raise ChannelError(f"Channel {name}: local AWS does not support S3DataType {kind}.")
    mode = given.get("InputMode", default_mode)
    if mode == "Pipe":
        raise ChannelError(f"Channel {name}: local AWS does not support Pipe mode; use File or FastFile.")
    distribution = source.get("S3DataDistributionType", "FullyReplicated")
    config = {
        "TrainingInputMode": mode,
        "S3DistributionType": distribution,
        "RecordWrapperType": given.get("RecordWrapperType", "None"),
    }
    for optional in ("ContentType", "CompressionType"):
        if optional in given:
            config[optional] = given[optional]
    location = Location.parse(source["S3Uri"])
    return Channel(name, location, kind == "ManifestFile", distribution == "ShardedByS3Key", config)


def find_objects(channel: Channel, storage: Storage, role_arn: str, region: str) -> dict[str, Location]:
    """What a channel names: objects by their path below the channel's folder.

    Raises:
        ChannelError: there is nothing, or the role may not look.
    """
    if channel.is_manifest:
        return dict(_manifest_objects(channel, storage))
    with contextlib.suppress(StorageError):
        if found := dict(_prefix_objects(channel.source, storage)):
            return found
    bucket = channel.source.bucket
    raise ChannelError(
        f'No S3 objects found under S3 URL "{channel.source}" given in input data source. Please ensure that the '
        f"bucket exists in the selected region ({region}), that objects exist under that S3 prefix, and that the role "
        f'"{role_arn}" has "s3:ListBucket" permissions on bucket "{bucket}".'
    )


def _prefix_objects(prefix: Location, storage: Storage) -> Iterator[tuple[str, Location]]:
    """Objects under a prefix; it stands for a folder, or for the beginning of names in one, or for one object."""
    folder = prefix.key if prefix.key.endswith("/") or not prefix.key else f"{prefix.key}/"
    parent = prefix.key[: prefix.key.rfind("/") + 1]
    for found in storage.list(prefix):
        if not found.key.endswith("/"):  # what consoles make of an empty folder
            yield found.key.removeprefix(folder if found.key.startswith(folder) else parent), found


def _manifest_objects(channel: Channel, storage: Storage) -> Iterator[tuple[str, Location]]:
    try:
        manifest = json.loads(storage.find(channel.source).value)
        prefix, *names = manifest
        base = Location.parse(prefix["prefix"])
        for name in names:
            yield name.lstrip("/"), Location(base.bucket, base.key + name)
    except StorageError as error:
        raise ChannelError(str(error)) from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ChannelError(f"The manifest {channel.source} is not valid.") from None


def share_of(objects: Mapping[str, Location], host: int, hosts: int) -> dict[str, Location]:
    """The objects of one of several instances: about as many for each."""
    return {path: objects[path] for path in sorted(objects)[host::hosts]}


class Data:
    """Objects of S3 as files, one copy of each however many jobs use it.

    Args:
        folder: keeps the copies; on the same file system as the jobs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fetching = threading.Lock()

    def place(self, objects: Mapping[str, Location], storage: Storage, folder: Path) -> Iterator[None]:
        """Puts objects below a folder, one at each step.

        Args:
            objects: by their paths.
            storage: reads them.
            folder: holds them; nothing is written outside of it.

        Raises:
            ChannelError: an object cannot be read, or its path cannot be a file's.
        """
        made: set[Path] = set()
        for path, location in objects.items():
            try:
                target = folder / _safe(path)
                if target.parent not in made:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    made.add(target.parent)
                self._link(location, storage, target)
            except StorageError as error:
                raise ChannelError(str(error)) from None
            except (OSError, ValueError):
                raise ChannelError(_clash(location)) from None
            yield

    @staticmethod
    def write(path: str, location: Location, storage: Storage, folder: Path) -> None:
        """Puts one object below a folder, as a file that may be written to.

        Raises:
            StorageError: it cannot be read.
            ChannelError: its path cannot be a file's.
        """
        try:
            storage.fetch(location, folder / _safe(path))
        except (OSError, ValueError):
            raise ChannelError(_clash(location)) from None

    def _link(self, location: Location, storage: Storage, target: Path) -> None:
        found = storage.find(location)
        modified = int(found.last_modified.timestamp() * 1e9)
        identity = "\0".join((location.bucket, location.key, found.version_id, found.etag, str(modified)))
        kept = self._folder / hashlib.sha256(identity.encode()).hexdigest()
        # A job that runs as root may have written to it all the same: then the time is another.
        if not kept.exists() or kept.stat().st_mtime_ns != modified:
            with self._fetching:
                copy(found, kept)
                kept.chmod(READ_ONLY)
                os.utime(kept, ns=(modified, modified))
        try:
            target.hardlink_to(kept)
        except FileExistsError:
            raise
        except OSError:  # as where a file has as many links as it can
            shutil.copyfile(kept, target)


def _clash(location: Location) -> str:
    """What AWS says of a key that cannot become a file, mostly since it is a folder of another."""
    return (
        f"Failed to download data. Cannot download {location}, a previously downloaded file/folder clashes with it. "
        "Please check your s3 objects and ensure that there is no object that is both a folder as well as a file."
    )


def _safe(path: str) -> PurePosixPath:
    """A path that stays below the folder it is put in.

    Raises:
        ValueError: it would not.
    """
    parts = PurePosixPath(path)
    if parts.is_absolute() or not parts.parts or ".." in parts.parts or "\0" in path:
        raise ValueError(path)
    return parts
