"""Waits for the end of its standard input, then stops every other process of its session: see `processes.Reaper`.

A session's id cannot be given to another process while one member, this one, lives: so nothing else can be hit.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable

import psutil

#: Seconds between SIGTERM and SIGKILL.
GRACE = 2.0


def session_members() -> list[psutil.Process]:
    """The processes of this session but this one and its parent, which has asked to be left or is gone."""
    session, spared = os.getsid(0), {os.getpid(), os.getppid()}
    members = []
    for process in psutil.process_iter():
        try:
            if process.pid not in spared and os.getsid(process.pid) == session:
                members.append(process)
        except (ProcessLookupError, PermissionError):
            continue
    return members


def main() -> None:
    """Waits and reaps."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    members = session_members()
    for process in members:
        _try(process.terminate)
    _, alive = psutil.wait_procs(members, GRACE)
    # Once more from the start: a dying process may have started another.
    for process in {*alive, *session_members()}:
        _try(process.kill)


def _try(action: Callable[[], None]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        action()


if __name__ == "__main__":
    main()
