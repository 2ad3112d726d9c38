"""What a person sees while something runs: progress on stderr if that is a terminal, one line per failure."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from whippet_training.errors import TrainingError

INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended: 128 + SIGINT."""

TERMINATED = 143
"""Exit status of a process that SIGTERM ended: 128 + SIGTERM."""

RESUMABLE = 75
"""Exit status of a command that SIGTERM ended and that goes on where it was when it is started again: EX_TEMPFAIL."""

stderr = Console(stderr=True, highlight=False)


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[], None]]:
    """Shows a progress bar on a terminal, nothing elsewhere; yields the function that advances it by one."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task(description, total=total)
        yield lambda: bar.advance(task)


def program(default: str) -> str:
    """The command's name in its own help: ``whippet`` names itself in WHIPPET_PROG."""
    return os.environ.get("WHIPPET_PROG") or default


def fail(message: str, status: int = 1) -> NoReturn:
    """Prints one line on stderr and exits."""
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    raise SystemExit(status)


def interrupted() -> NoReturn:
    """Ends a command that Ctrl-C stopped, without waiting for its threads."""
    sys.stderr.write("interrupted\n")
    sys.stderr.flush()
    os._exit(INTERRUPTED)


@contextmanager
def failures_told() -> Iterator[None]:
    """Ends the command with one line where it meets what a user can meet: wrong data, a full disk, Ctrl-C."""
    try:
        yield
    except TrainingError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    except KeyboardInterrupt:
        interrupted()


def exit_on_sigterm(status: int = TERMINATED) -> None:
    """Lets SIGTERM end the process as an exception would, so that nothing half-written stays.

    Args:
        status: Exit status; RESUMABLE of a command that keeps what it has computed.
    """

    def end(*_: object) -> None:
        if status == RESUMABLE:
            sys.stderr.write("interrupted; the same command goes on where it was\n")
        sys.exit(status)

    signal.signal(signal.SIGTERM, end)
