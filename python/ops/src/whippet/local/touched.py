"""Which of moto's records a call reaches: only those can it have changed.

moto's services change one another's records, such as CloudFormation everybody's and S3 those of the queue that it
notifies. What a call has asked moto's registries for tells all of them, with no list of who changes whom.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.core.base_backend import AccountSpecificBackend, BaseBackend
from moto.core.common_models import BaseModel
from moto.s3.models import FakeKey
from moto.s3.utils import _VersionedKeyStore

_get_backend = AccountSpecificBackend.__getitem__


class _Call(threading.local):
    """What the call that this thread answers has reached; None where it answers none that is watched."""

    backends: set[BaseBackend] | None = None
    keys: list[tuple[Keys, str]]


_call = _Call()


@contextmanager
def watched(reached: set[BaseBackend]) -> Iterator[None]:
    """Adds to `reached` the backends that this thread reaches; in the end their keys of S3 are noted as changed."""
    _call.backends, _call.keys = reached, []
    try:
        yield
    finally:
        for keys, name in _call.keys:
            keys.changed.add(name)
        _call.backends = None


def install() -> None:
    """Makes moto tell what is reached, and keep no list of everything it ever made, which would only ever grow."""
    AccountSpecificBackend.__getitem__ = _noting_get_backend  # type: ignore[method-assign]
    BaseModel.__new__ = _untracked_new  # type: ignore[method-assign]
    if "__del__" in vars(FakeKey):  # warns of keys that were not closed: those in that list
        del FakeKey.__del__


def _noting_get_backend(self: Any, region_name: str) -> Any:
    backend = _get_backend(self, region_name)
    if _call.backends is not None:
        _call.backends.add(backend)
    return backend


def _untracked_new(cls: Any, *args: Any, **kwargs: Any) -> Any:
    return object.__new__(cls)


class Keys(_VersionedKeyStore):
    """The keys of a bucket, which tells those that may have changed since they were saved.

    Attributes:
        changed: names of keys. One is added after its change, so that whoever takes it from here finds the change.
    """

    def __init__(self, keys: _VersionedKeyStore | None = None) -> None:
        super().__init__()
        self.changed: set[str] = set()
        for name, versions in list((keys or _VersionedKeyStore()).lists()):
            self.setlist(name, versions)

    def __getitem__(self, key: str) -> Any:
        self._reached(key)
        return super().__getitem__(key)

    def getlist(self, key: str, default: Any = None) -> Any:
        """The versions of a key."""
        self._reached(key)
        return super().getlist(key, default)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.changed.add(key)

    def setlist(self, key: str, list_: Any) -> None:
        """Sets the versions of a key."""
        super().setlist(key, list_)
        self.changed.add(key)

    def pop(self, key: str) -> None:  # type: ignore[override]
        """Removes a key with all its versions; moto's own stumbles over delete markers, which have nothing to close."""
        for version in self.versions(key) or []:
            if isinstance(version, FakeKey):
                version.dispose()
        dict.pop(self, key)
        self.changed.add(key)

    def versions(self, key: str) -> list[Any] | None:
        """The versions of a key, None where there is none; unlike `getlist`, for whoever changes nothing."""
        return dict.get(self, key)

    def take_changed(self) -> Iterator[str]:
        """The keys that may have changed since the last time."""
        while self.changed:
            try:
                yield self.changed.pop()
            except KeyError:  # another thread was faster
                return

    def _reached(self, key: str) -> None:
        if _call.backends is not None:  # it may change what it has got
            _call.keys.append((self, key))
