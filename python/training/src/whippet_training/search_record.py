"""Keeps the trials of a search in a database that Optuna and its dashboard read."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from whippet_training.errors import TrainingError

_IDENTITY = "whippet"
_LOCKED_SECONDS = 30


class StudyRecord:
    """A study in a database: trials are written when they end, each in one transaction.

    A commit takes about as long as an epoch: the losses of its epochs are written with the trial.

    Args:
        url: SQLAlchemy's address of the database, such as ``sqlite:///search.db``.
        name: Of the study.
        identity: What decides the search: a study of something else is not gone on with.

    Attributes:
        place: The address without a password.

    Raises:
        TrainingError: If the database cannot be used, or holds another search under this name.
    """

    def __init__(self, url: str, name: str, identity: Mapping[str, Any]) -> None:
        with self._told(url):
            self.place = make_url(url).render_as_string(hide_password=True)
            arguments = {"connect_args": {"timeout": _LOCKED_SECONDS}} if url.startswith("sqlite") else {}
            storage = RDBStorage(url, engine_kwargs=arguments)
            self._study = optuna.create_study(study_name=name, storage=storage, load_if_exists=True)
            known = self._study.user_attrs.get(_IDENTITY)
            wanted = json.loads(json.dumps(identity))
            if known is None and not self._study.get_trials(deepcopy=False):
                self._study.set_user_attr(_IDENTITY, wanted)
            elif known != wanted:
                other = [part for part, value in wanted.items() if not known or known.get(part) != value]
                raise TrainingError(
                    f"{self.place} holds a search that differs in {' and '.join(other)}: "
                    "repeat that one's command, or pass another --out or --storage."
                )

    def trials(self) -> list[FrozenTrial]:
        """See Record.

        Raises:
            TrainingError: If the database cannot be read.
        """
        with self._told(self.place):
            return self._study.get_trials(deepcopy=False)

    def add(self, trial: FrozenTrial, number: int) -> None:
        """See Record.

        Raises:
            TrainingError: If the disk is full, the database is gone, or somebody else has added trials.
        """
        with self._told(self.place):
            if len(self._study.get_trials(deepcopy=False)) != number:
                raise TrainingError(f"Another process adds trials to {self.place}: let one of them end.")
            self._study.add_trial(trial)

    @staticmethod
    @contextmanager
    def _told(place: str) -> Iterator[None]:
        try:
            with _undisturbed():
                yield
        except ArgumentError as error:
            raise TrainingError(f"--storage takes an address such as sqlite:///search.db, not {place!r}.") from error
        except ImportError as error:
            driver = getattr(error.__cause__ or error, "name", None) or "it"  # Optuna wraps the error
            raise TrainingError(f"The database's driver is missing: pip install {driver}") from error
        except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError) as error:
            cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
            reason = str(getattr(cause, "orig", None) or cause or error).splitlines()[0]
            raise TrainingError(f"The storage {place} cannot be used: {reason}") from error


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM wait for the end of a transaction: SQLAlchemy logs what is raised within one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
