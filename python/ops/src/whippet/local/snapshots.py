"""Moto's records as bytes, and back: pickles, in which whatever cannot or need not be kept is left out or replaced.

A snapshot is read only where this user's own local AWS has written it: a pickle can run code.
"""

from __future__ import annotations

import importlib
import io
import pickle
import tempfile
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from moto.awslambda.models import LambdaFunction, LayerVersion
from moto.core.base_backend import BackendDict, BaseBackend
from moto.logs.models import LogStream
from moto.s3.models import FakeBucket, FakeKey

from whippet.local.contents import Content, Contents
from whippet.local.touched import Keys

#: Attributes of backends that need not survive, by moto's name of the service: metrics are of the moment.
VOLATILE = {"cloudwatch": ("metric_data", "paged_metric_data")}
#: How often a snapshot is tried while other threads change what it is taken of, and seconds between two tries.
TRIES, PAUSE = 200, 0.002


@dataclass(frozen=True)
class Snapshot:
    """What something on record was at one moment.

    Attributes:
        data: the pickle.
        contents: what lies outside of it, by name.
        backends: the backends that it refers to.
        kinds: the classes of what is in it.
    """

    data: bytes
    contents: dict[str, Content]
    backends: frozenset[BaseBackend]
    kinds: frozenset[type]


def name_of(backend: BaseBackend) -> str:
    """A backend's moto service, account and region (or partition), with slashes between."""
    return f"{type(backend).__module__.split('.')[1]}/{backend.account_id}/{backend.region_name}"


def backend_named(name: str) -> BaseBackend:
    """The backend with a name that `name_of` gave; it is made where there is none."""
    service, account, region = name.split("/")
    models = importlib.import_module(f"moto.{service}.models")
    [registry] = {
        id(value): value
        for value in vars(models).values()
        if isinstance(value, BackendDict) and value.backend.__module__ == models.__name__
    }.values()
    backend: BaseBackend = registry[account][region]
    return backend


def take(record: Any, contents: Contents) -> Snapshot:
    """Takes a snapshot of a backend, or of anything that lies in one.

    Raises:
        OSError: a content cannot be written.
        Exception: it holds what cannot be pickled.
    """
    for _ in range(TRIES - 1):
        try:
            return _take(record, contents)
        except RuntimeError as error:  # "dictionary changed size during iteration", "deque mutated during iteration"
            if "during iteration" not in str(error):
                raise
            time.sleep(PAUSE)
    return _take(record, contents)


def _take(record: Any, contents: Contents) -> Snapshot:
    file = io.BytesIO()
    pickler = _Pickler(file, contents)
    pickler.dump(_state_of(record) if isinstance(record, BaseBackend) else record)
    return Snapshot(file.getvalue(), pickler.contents, frozenset(pickler.backends), frozenset(pickler.kinds))


def _state_of(backend: BaseBackend) -> dict[str, Any]:
    left_out = VOLATILE.get(type(backend).__module__.split(".")[1], ())
    return {name: value for name, value in dict(vars(backend)).items() if name not in left_out}


def load(data: bytes, contents: Contents) -> tuple[Any, dict[str, Content]]:
    """Makes what a snapshot was taken of; of a backend, its attributes.

    Returns:
        It, and the contents that it uses, by name.

    Raises:
        DamagedError: a content of it is gone.
        Exception: it is of another version, or damaged.
    """
    unpickler = _Unpickler(io.BytesIO(data), contents)
    return unpickler.load(), unpickler.contents


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Cloudpickle, which knows the functions that moto's dictionaries make their values with, and what follows."""

    def __init__(self, file: io.BytesIO, contents: Contents) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._store = contents
        self.contents: dict[str, Content] = {}
        self.backends: set[BaseBackend] = set()
        self.kinds: set[type] = set()

    def reducer_override(self, obj: Any) -> Any:
        """How an object is pickled: a callable, its arguments, and what follows in pickle's own order."""
        self.kinds.add(type(obj))
        if reduce := REDUCERS.get(type(obj)):
            return reduce(self, obj)
        if isinstance(obj, BaseBackend):
            self.backends.add(obj)
            return backend_named, (name_of(obj),)
        if isinstance(obj, FakeBucket):
            return self.bucket(obj)
        if isinstance(obj, defaultdict) and type(obj) is not defaultdict:  # with other arguments than pickle would give
            return _make, (type(obj),), (dict(vars(obj)), obj.default_factory, dict(obj)), None, None, _set_defaultdict
        if type(obj).__module__.startswith("cryptography.") and hasattr(obj, "private_bytes"):
            key = obj.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            return _load_private_key, (key,)
        return super().reducer_override(obj)

    def weak_values(self, values: weakref.WeakValueDictionary[Any, Any]) -> Any:
        return weakref.WeakValueDictionary, (), None, None, iter(values.items())

    def log_stream(self, stream: LogStream) -> Any:
        """A log stream without its events."""
        return _make, (LogStream,), {**vars(stream), "events": [], "stored_bytes": 0}

    def bucket(self, bucket: FakeBucket) -> Any:
        """A bucket without its keys, which are saved one by one."""
        return _make, (type(bucket),), {**vars(bucket), "keys": Keys()}

    def keys(self, keys: Keys) -> Any:
        return Keys, ()

    def key(self, key: FakeKey) -> Any:
        """A key of S3, with its bytes in a file of their own from now on."""
        if not key.disposed and not isinstance(key._value_buffer, Content):
            content = self._store.store(key.value)
            with key.lock:
                key._value_buffer = content  # type: ignore[assignment]
        state = {name: value for name, value in dict(vars(key)).items() if name != "lock"}
        if key.disposed:
            state["_value_buffer"] = None
        return _make, (FakeKey,), state, None, None, _set_key

    def function(self, function: LambdaFunction | LayerVersion) -> Any:
        """A function or a layer, with its package in a file."""
        state = {**vars(function), "_DockerModel__docker_client": None}
        for name in ("code", "content"):  # where the package came from; in base64 where it came with the call
            if "ZipFile" in state.get(name, ()):
                state[name] = {**state[name], "ZipFile": ""}
        if code := state.get("code_bytes"):
            name = "code-" + state["code_sha_256"].replace("/", "_").replace("+", "-")
            state["code_bytes"] = self._store.store(code, name)
        return _make, (type(function),), state, None, None, _set_function

    def content(self, content: Content) -> Any:
        self.contents[content.path.name] = content
        return Content, (content.path.name, content.size)


REDUCERS: dict[type, Callable[[_Pickler, Any], Any]] = {
    type(threading.Lock()): lambda pickler, lock: (threading.Lock, ()),
    type(threading.RLock()): lambda pickler, lock: (threading.RLock, ()),
    weakref.WeakValueDictionary: _Pickler.weak_values,
    LogStream: _Pickler.log_stream,
    Keys: _Pickler.keys,
    FakeKey: _Pickler.key,
    LambdaFunction: _Pickler.function,
    LayerVersion: _Pickler.function,
    Content: _Pickler.content,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, contents: Contents) -> None:
        super().__init__(file)
        self._store = contents
        self.contents: dict[str, Content] = {}

    def find_class(self, module: str, name: str) -> Any:
        """A class or a function; instead of that of contents, what finds them in the folder they are in now."""
        if (module, name) == (Content.__module__, Content.__name__):
            return self._open
        return super().find_class(module, name)

    def _open(self, name: str, size: int) -> Content:
        content = self.contents[name] = self._store.open(name, size)
        return content


def _load_private_key(key: bytes) -> Any:
    return load_der_private_key(key, password=None)


def _make(kind: type[object]) -> Any:
    return kind.__new__(kind)


def _set_defaultdict(values: defaultdict[Any, Any], state: tuple[dict[str, Any], Any, dict[Any, Any]]) -> None:
    attributes, values.default_factory, items = state
    vars(values).update(attributes)
    dict.update(values, items)


def _set_key(key: FakeKey, state: dict[str, Any]) -> None:
    vars(key).update(state, lock=threading.Lock())
    if key._value_buffer is None:  # disposed of, as the parts of an upload are: moto expects a closed file there
        with tempfile.SpooledTemporaryFile() as closed:
            key._value_buffer = closed


def _set_function(function: LambdaFunction | LayerVersion, state: dict[str, Any]) -> None:
    vars(function).update(state)
    if isinstance(code := state.get("code_bytes"), Content):
        function.code_bytes = code.read()
