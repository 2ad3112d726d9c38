"""Photos in S3, streamed: nothing but the listing and the photos that wait to be decoded is in memory or on disk."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from whippet_training.errors import TrainingError

CONNECTIONS = 16
"""S3 answers a GET in tens of milliseconds: so many at a time feed the cores of one machine."""

READ_AHEAD = 2 * CONNECTIONS
"""Photos that are fetched, or being fetched, before somebody asks for them."""

MAX_BYTES = 64 << 20
"""Of one photo: with READ_AHEAD it bounds the memory."""

_ATTEMPTS = 5
"""At one call, by botocore's standard mode, and at one photo whose transfer breaks off."""

_NO_SUCH_KEY = frozenset({"NoSuchKey", "404"})
_CHANGED = frozenset({"PreconditionFailed", "412"})


@dataclass(frozen=True)
class Stored:
    """What a listing says of an object.

    Attributes:
        tag: S3's ETag, another one for other bytes. Of an object that was uploaded in one part without a KMS key it is
            the MD5 of the content, so copies share it.
        size: In bytes.
    """

    tag: str
    size: int


class Bucket:
    """The objects below a prefix of a bucket.

    One listing tells of splits, classes and identities; an object is fetched when somebody asks for its bytes.

    Args:
        client: boto3's client of S3; used from threads.
        bucket: Its name.
        prefix: Ends with a slash, or is empty.
        objects: The listing, by name relative to the prefix, in the order of S3; folders' own markers end with a slash.
    """

    def __init__(self, client: Any, bucket: str, prefix: str, objects: Mapping[str, Stored]) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._objects = objects
        self._folders: dict[str, set[str]] = defaultdict(set)
        self._files: dict[str, list[str]] = defaultdict(list)
        for name in objects:
            *folders, file = name.split("/")
            if any(part.startswith(".") for part in (*folders, file)):
                continue
            for depth, folder in enumerate(folders):
                self._folders["/".join(folders[:depth])].add(folder)
            if file:
                # Classes lie one or two folders deep; what is deeper belongs to them.
                for depth in range(1, min(len(folders), 2) + 1):
                    self._files["/".join(folders[:depth])].append(name)

    def path(self, name: str = "") -> str:
        """See Source."""
        return f"s3://{self._bucket}/{self._prefix}{name}".rstrip("/")

    def folders(self, below: str = "") -> list[str]:
        """See Source."""
        return sorted(self._folders.get(below, ()))

    def files(self, below: str) -> Iterator[str]:
        """See Source; a folder at most two deep."""
        yield from self._files.get(below, ())

    def has(self, file: str) -> bool:
        """See Source."""
        return file in self._objects

    def content(self, file: str) -> bytes:
        """See Source: a digest of ETag and size. Whether pixels lie in two splits is found when photos are decoded."""
        stored = self._objects[file]
        if stored.size > MAX_BYTES:
            raise OSError(errno.EFBIG, f"has more than {MAX_BYTES >> 20} MiB")
        return hashlib.sha256(f"s3\n{stored.tag}\n{stored.size}".encode()).digest()

    def read(self, file: str) -> bytes:
        """See Source: the object as it was listed, or an error."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        stored = self._objects.get(file)
        if stored is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path(file))
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=self._prefix + file, IfMatch=stored.tag)
                with found["Body"] as body:
                    content: bytes = body.read()
                return content
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                if code in _NO_SUCH_KEY:
                    raise FileNotFoundError(errno.ENOENT, "was deleted after the listing", file) from None
                if code in _CHANGED:
                    raise TrainingError(f"{self.path(file)} was changed after the listing; start again.") from None
                raise TrainingError(f"{self.path(file)} cannot be read: {_told(error)}") from None
            # botocore tries a call again, but not the transfer of its answer
            except (HTTPClientError, OSError) as error:
                if attempt == _ATTEMPTS:
                    raise TrainingError(f"{self.path(file)} cannot be read: {error}; start again.") from None
            except BotoCoreError as error:
                raise TrainingError(f"{self.path(file)} cannot be read: {error}") from None
        raise AssertionError("unreachable")

    @contextmanager
    def reader(self, files: Sequence[str]) -> Iterator[Callable[[int], bytes]]:
        """See Source: threads read ahead of whoever asks, a bounded number of photos."""
        ahead = _ReadAhead(self.read, files)
        try:
            yield ahead.take
        finally:
            ahead.close()


class _ReadAhead:
    """Reads files before they are asked for.

    Args:
        read: Reads one; called from threads.
        files: In the order in which they will be asked for, roughly.
    """

    def __init__(self, read: Callable[[str], bytes], files: Sequence[str]) -> None:
        self._read = read
        self._files = files
        self._waiting: dict[int, Future[bytes]] = {}
        self._next = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="s3")

    def take(self, number: int) -> bytes:
        """The bytes of a file, which is forgotten then."""
        with self._lock:
            while self._next < min(len(self._files), number + 1 + READ_AHEAD):
                self._waiting[self._next] = self._pool.submit(self._read, self._files[self._next])
                self._next += 1
            future = self._waiting.pop(number)
        return future.result()

    def close(self) -> None:
        """Fetches no more."""
        self._pool.shutdown(cancel_futures=True)


def open_bucket(uri: str) -> Bucket:
    """Lists what lies below an address.

    Args:
        uri: ``s3://BUCKET/PREFIX``; the prefix is a folder's name, with or without a slash at its end.

    Raises:
        TrainingError: If boto3 is not installed, or S3 does not answer, or nothing lies there.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise TrainingError("Photos in S3 need boto3: pip install 'whippet-training[s3]'") from None
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if prefix := prefix.strip("/"):
        prefix += "/"
    config = Config(
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "max_attempts": _ATTEMPTS},
        connect_timeout=10,
        read_timeout=30,
    )
    try:
        client = boto3.client("s3", config=config, region_name=os.environ.get("AWS_REGION"))
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        objects = {
            one["Key"].removeprefix(prefix): Stored(one["ETag"], one["Size"])
            for page in pages
            for one in page.get("Contents", [])
        }
    except ClientError as error:
        raise TrainingError(f"{uri} cannot be listed: {_told(error)}") from None
    except (BotoCoreError, ValueError) as error:
        raise TrainingError(f"{uri} cannot be listed: {error}") from None
    if not objects:
        raise TrainingError(f"{uri} is empty; upload photos with  aws s3 sync DIR {uri}")
    return Bucket(client, bucket, prefix, objects)


def _told(error: Any) -> str:
    """AWS's own words for a failure."""
    said = error.response.get("Error", {})
    return f"{said.get('Code', 'unknown error')}: {said.get('Message', '')}".rstrip(": ")
