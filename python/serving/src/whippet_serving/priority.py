"""Lets the event loop go before the work on photos: under any load it is to accept and to refuse at once."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

NICENESS = 10
"""How much the work on photos gives way: it gets a tenth of the event loop's share where both want a core."""


def give_way() -> None:
    """Lower the priority of this thread, and of those that it will start; where that is forbidden, go on without."""
    if sys.platform == "linux":  # elsewhere it would be the whole process's
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
