"""S3 as a job sees it: with the permissions of its role, and without a way through HTTP."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.s3.models import s3_backends

from whippet.local.access.actions import Need
from whippet.local.access.policies import Decision
from whippet.local.access.principals import role_principal
from whippet.local.settings import ACCOUNT


class StorageError(Exception):
    """S3 refuses; the text is as SageMaker quotes S3: a code, an HTTP status and a message."""


@dataclass(frozen=True)
class Location:
    """A bucket and a key, or a prefix of keys.

    Attributes:
        bucket: the bucket's name.
        key: the key or the prefix.
    """

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> Location:
        """Reads `s3://bucket/key`, in which `?` and `#` are letters as any other."""
        _, _, path = uri.partition("://")
        bucket, _, key = path.partition("/")
        return cls(bucket, key)

    def __truediv__(self, name: str) -> Location:
        """What lies below it, one `/` between."""
        return Location(self.bucket, f"{self.key.rstrip('/')}/{name}".lstrip("/"))

    def __str__(self) -> str:
        """As `s3://bucket/key`."""
        return f"s3://{self.bucket}/{self.key}"


class Storage:
    """All buckets, for one role as its policies are now.

    Args:
        role_arn: whose permissions decide.
    """

    def __init__(self, role_arn: str) -> None:
        self._role = role_principal(role_arn)
        self._buckets: Any = s3_backends[ACCOUNT]["aws"]

    def list(self, prefix: Location) -> list[Location]:
        """The objects whose keys begin with a prefix, by key.

        Raises:
            StorageError: there is no such bucket, or the role may not list it.
        """
        self._require("s3:ListBucket", f"arn:aws:s3:::{prefix.bucket}", {"s3:prefix": prefix.key})
        self._require_bucket(prefix.bucket)
        # A list in one go, since other threads add objects.
        names = [name for name in list(self._buckets.buckets[prefix.bucket].keys) if name.startswith(prefix.key)]
        found = (Location(prefix.bucket, name) for name in sorted(names))
        return [location for location in found if self._find(location) is not None]

    def find(self, location: Location) -> Any:
        """An object, as moto has it, that the role may read.

        Raises:
            StorageError: there is none, or the role may not read it.
        """
        self._require("s3:GetObject", f"arn:aws:s3:::{location.bucket}/{location.key}")
        self._require_bucket(location.bucket)
        found = self._find(location)
        if found is None:
            raise StorageError("NoSuchKey (404): The specified key does not exist.")
        return found

    def fetch(self, location: Location, path: Path) -> None:
        """Writes an object to a file, which is whole or not there.

        Raises:
            StorageError: there is none, or the role may not read it.
        """
        copy(self.find(location), path)

    def put(self, location: Location, content: bytes, kms_key: str | None = None) -> None:
        """Stores an object.

        Args:
            location: where.
            content: the object.
            kms_key: encrypts it, unless the bucket's own encryption does.

        Raises:
            StorageError: there is no such bucket, or the role may not write to it.
        """
        self._require("s3:PutObject", f"arn:aws:s3:::{location.bucket}/{location.key}")
        self._require_bucket(location.bucket)
        encryption = {"encryption": "aws:kms", "kms_key_id": kms_key} if kms_key else {}
        self._buckets.put_object(location.bucket, location.key, content, **encryption)

    def _find(self, location: Location) -> Any:
        return self._buckets.get_object(location.bucket, location.key)

    def _require(self, action: str, resource: str, context: dict[str, str] | None = None) -> None:
        if self._role.decide(Need(action, resource), context) is not Decision.ALLOWED:
            raise StorageError("AccessDenied (403): Access Denied")

    def _require_bucket(self, name: str) -> None:
        if name not in self._buckets.buckets:
            raise StorageError("NoSuchBucket (404): The specified bucket does not exist")


def copy(found: Any, path: Path) -> None:
    """Writes an object of moto's to a file, piece by piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The lock is the one that moto takes wherever it reads an object.
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as partial, found.lock:
        found._value_buffer.seek(0)
        shutil.copyfileobj(found._value_buffer, partial)
    os.replace(partial.name, path)  # noqa: PTH105 - `path` is whole or not there
