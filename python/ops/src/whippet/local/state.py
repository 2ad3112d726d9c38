"""Keeps the state of local AWS on disk, so that it survives the end of the process, however it ends.

Each of moto's backends (one service in one account and region) is a row of an SQLite database, and so is each key of
S3; what objects and functions hold lies in files beside it. A row is written before the call that has changed it is
answered. SQLite never shows what a killed process has not committed, and checksums tell what else went wrong.

Metrics and the events of log streams are not kept.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import shutil
import sqlite3
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from moto.backends import get_backend
from moto.core.base_backend import BaseBackend
from moto.moto_api._internal.models import moto_api_backend
from moto.s3.models import S3Backend, s3_backends

from whippet.local import snapshots, touched
from whippet.local.clock import Clock
from whippet.local.contents import Content, Contents, DamagedError
from whippet.local.settings import ACCOUNT
from whippet.local.snapshots import Snapshot
from whippet.local.touched import Keys

log = logging.getLogger(__name__)

SCHEMA = """
PRAGMA auto_vacuum = FULL;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS records (name BLOB PRIMARY KEY, data BLOB NOT NULL, digest BLOB NOT NULL);
"""
#: Changes when what the rows mean does.
LAYOUT = 1
NOT_SAVED = "The state is not being saved"


class State:
    """What is on disk.

    Args:
        folder: where it lies; nobody but the user may read it.
        clock: its time is kept too, so that it never goes back.

    Attributes:
        id: of what lies there; a new one after each reset.
        notice: one line that users should know; empty where all is well.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        touched.install()
        self.id = ""
        self.notice = ""
        self._folder = folder
        self._clock = clock
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None
        self._contents: Contents
        self._digests: dict[bytes, bytes] = {}
        self._used: dict[bytes, dict[str, Content]] = {}
        self._users: Counter[str] = Counter()
        self._unsaved: set[BaseBackend] = set()
        self._unwritten: dict[bytes, Snapshot | None] = {}
        self._unpicklable: set[str] = set()
        self._known_kinds: set[type] = set()

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())

    def open(self) -> None:
        """Brings back what is on disk, moto's records as they were; starts empty where it cannot be read.

        Raises:
            OSError: nothing can be read or written there.
        """
        try:
            self._open()
        except DamagedError as error:
            moto_api_backend.reset()  # what was made until the damage showed
            aside = self._folder.with_name(f"{self._folder.name}-{time.strftime('%Y%m%dT%H%M%S')}")
            self._folder.rename(aside)
            self.notice = (
                f"The state of the last run is not used ({error}): local AWS starts empty, so deploy again. "
                f"What it held is kept in {aside}."
            )
            log.warning(self.notice)
            self._open()

    def changed(self, service: str, region: str) -> None:
        """Saves what one service holds in one region.

        Args:
            service: botocore's name of it.
            region: any, where the service has none.
        """
        regions = get_backend(service)[ACCOUNT]  # type: ignore[call-overload]
        self._save([regions[region if region in regions.regions else "aws"]])

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Saves all that this thread can have changed meanwhile, at the end."""
        reached: set[BaseBackend] = set()
        try:
            with touched.watched(reached):
                yield
        finally:
            self._save(reached)

    def empty(self) -> None:
        """Removes everything from the disk; only while it is closed."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self.notice = ""

    def close(self) -> None:
        """Saves nothing from now on, so that what ends with the process does not look as if it had ended by itself."""
        with self._lock:
            if self._database is not None:
                self._write({})
                self._database.close()
                self._database = None

    def _open(self) -> None:
        """Opens the database and takes over what it holds.

        Raises:
            DamagedError: that is not possible.
            OSError: nothing can be read or written there.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        self._contents = Contents(self._folder / "contents")
        self._digests, self._used, self._users = {}, {}, Counter()
        database = sqlite3.connect(self._folder / "state.db", isolation_level=None, check_same_thread=False)
        try:
            database.executescript(SCHEMA)
            self._read(database)
        except BaseException as error:
            database.close()
            if isinstance(error, sqlite3.OperationalError):
                raise OSError(f"{self._folder}: {error}") from error
            if isinstance(error, sqlite3.DatabaseError):
                raise DamagedError(str(error)) from error
            raise
        self._database = database
        (self._folder / "id").write_text(self.id)  # for `control`, while nothing runs

    def _read(self, database: sqlite3.Connection) -> None:
        about = dict(database.execute("SELECT name, value FROM about"))
        versions = _versions()
        if not about:
            if not self._contents.is_empty():
                raise DamagedError("its database is empty")
            about = {**versions, "id": uuid.uuid4().hex, "clock": "0"}
            database.execute("BEGIN")  # all of it or nothing, also where the process is killed meanwhile
            database.executemany("INSERT INTO about VALUES (?, ?)", about.items())
            database.execute("COMMIT")
        if {name: about.get(name) for name in versions} != versions:
            written_by = ", ".join(f"{name} {about.get(name)}" for name in versions)
            raise DamagedError(f"it was written with {written_by}")
        [[complaint]] = database.execute("PRAGMA integrity_check(1)")
        if complaint != "ok":
            raise DamagedError(complaint)
        self._restore(database)
        self.id = about["id"]
        self._clock.advance(float(about["clock"]))

    def _restore(self, database: sqlite3.Connection) -> None:
        """Gives moto's backends what they had; not before all of it has been read."""
        backends: list[tuple[BaseBackend, dict[str, Any]]] = []
        keys: list[tuple[bytes, Any]] = []
        for name, data, digest in database.execute("SELECT name, data, digest FROM records"):
            if digest != _digest(name, data):
                raise DamagedError(f"the checksum of {name.decode(errors='replace')} is wrong")
            try:
                value, used = snapshots.load(data, self._contents)
                if name.count(b"/") == 2:
                    backends.append((snapshots.backend_named(name.decode()), value))
                else:
                    keys.append((name, value))
            except DamagedError:
                raise
            except Exception as error:  # a pickle can fail with anything
                raise DamagedError(f"{name.decode(errors='replace')} cannot be read: {error!r}") from error
            self._digests[name] = digest
            self._use(name, used)
        for backend, attributes in backends:
            vars(backend).update(attributes)
            if isinstance(backend, S3Backend):
                for bucket in _buckets(backend):
                    s3_backends.bucket_accounts[bucket.name] = (backend.partition, backend.account_id)
        for name, versions in keys:
            account, partition, bucket_name, key = name.decode(errors="surrogatepass").split("/", 4)[1:]
            backend = s3_backends[account][partition]
            dict.__setitem__(backend.get_bucket(bucket_name).keys, key, versions)
        self._contents.drop_all_but(self._users)

    def _save(self, backends: Iterable[BaseBackend]) -> None:
        """Writes what has changed of backends, and of those that they refer to.

        A disk that is full ends no call: what could not be written is written with the next change.
        """
        with self._lock:
            if self._database is None:
                return
            self._unsaved.update(backends)
            try:
                self._unwritten.update(self._collect(self._unsaved))
                self._write(self._unwritten)
            except (OSError, sqlite3.Error) as error:
                if not self.notice.startswith(NOT_SAVED):
                    self.notice = f"{NOT_SAVED} ({error}): make room in {self._folder}."
                    log.error(self.notice)
                return
            self._unsaved.clear()
            self._unwritten.clear()
            self.notice = "" if self.notice.startswith(NOT_SAVED) else self.notice

    def _collect(self, backends: Iterable[BaseBackend]) -> dict[bytes, Snapshot | None]:
        """Snapshots by name; None for what is gone."""
        rows: dict[bytes, Snapshot | None] = {}
        todo, seen = list(backends), set(backends)
        while todo:
            backend = todo.pop()
            if isinstance(backend, S3Backend):
                rows.update(self._collect_keys(backend))
            if (snapshot := self._take(name := snapshots.name_of(backend), backend)) is not None:
                rows[name.encode()] = snapshot
                todo += snapshot.backends - seen
                seen |= snapshot.backends
        return rows

    def _collect_keys(self, backend: S3Backend) -> dict[bytes, Snapshot | None]:
        rows: dict[bytes, Snapshot | None] = {}
        for bucket in _buckets(backend):
            if not isinstance(bucket.keys, Keys):
                bucket.keys = Keys(bucket.keys)
            for key in bucket.keys.take_changed():
                name = f"{snapshots.name_of(backend)}/{bucket.name}/{key}"
                versions = bucket.keys.versions(key)
                try:
                    rows[name.encode(errors="surrogatepass")] = self._take(name, versions) if versions else None
                except OSError:
                    bucket.keys.changed.add(key)
                    raise
        return rows

    def _take(self, name: str, record: Any) -> Snapshot | None:
        """A snapshot; None of what cannot be pickled, as what runs on a thread, or not be read back."""
        try:
            snapshot = snapshots.take(record, self._contents)
            if not snapshot.kinds <= self._known_kinds:  # found out now, not when everything depends on it
                snapshots.load(snapshot.data, self._contents)
                self._known_kinds |= snapshot.kinds
            return snapshot
        except OSError:
            raise
        except Exception as error:
            if name not in self._unpicklable:
                self._unpicklable.add(name)
                log.exception("%s will not survive the end of local AWS: %r", name, error)
            return None

    def _write(self, rows: Mapping[bytes, Snapshot | None]) -> None:
        """Writes rows in one transaction, and lets go of the contents that only what they replace has used."""
        assert self._database is not None  # noqa: S101 - the callers have looked
        digests = {name: _digest(name, row.data) for name, row in rows.items() if row is not None}
        changed = {name: row for name, row in rows.items() if digests.get(name) != self._digests.get(name)}
        with closing(self._database.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                for name, row in changed.items():
                    if row is None:
                        cursor.execute("DELETE FROM records WHERE name = ?", (name,))
                    else:
                        values = (name, row.data, digests[name])
                        cursor.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", values)
                cursor.execute("INSERT OR REPLACE INTO about VALUES ('clock', ?)", (repr(self._clock.time()),))
                cursor.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    cursor.execute("ROLLBACK")
                raise
        for name, row in changed.items():
            if row is None:
                self._digests.pop(name, None)
            else:
                self._digests[name] = digests[name]
            self._use(name, row.contents if row is not None else {})

    def _use(self, name: bytes, contents: dict[str, Content]) -> None:
        """Notes which contents a row uses, and removes those that no row does any more."""
        before = self._used.pop(name, {})
        if contents:
            self._used[name] = contents
        self._users.update(list(contents))
        for file, content in before.items():
            self._users[file] -= 1
            if not self._users[file]:
                del self._users[file]
                self._contents.drop(content)


def _buckets(backend: S3Backend) -> list[Any]:
    return [*list(backend.buckets.values()), *list(backend.table_buckets.values())]


def _digest(name: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(name + b"\0" + data, digest_size=16).digest()


def _versions() -> dict[str, str]:
    """What must be the same when a pickle is read as when it was written."""
    return {
        "layout": str(LAYOUT),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "moto": metadata.version("moto"),
        "whippet": metadata.version("whippet"),
    }
