"""The instances of a training job: a process each, with its log."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import Popen

from whippet.local import processes
from whippet.local.jobs.environment import Layout
from whippet.local.logs import LogStream

log = logging.getLogger(__name__)

#: Lines of the log that the reason of a failure quotes.
TAIL_LINES = 15
#: Seconds for the rest of a log once its process has ended.
DRAIN = 2.0


class Container:
    """One instance.

    Args:
        host: its name.
        layout: its folders.
        stream: takes its log.
        on_lines: gets its log too.
        on_end: is called when its process has ended.
    """

    def __init__(
        self,
        host: str,
        layout: Layout,
        stream: LogStream,
        on_lines: Callable[[list[str]], None],
        on_end: Callable[[], None],
    ) -> None:
        self.host = host
        self.layout = layout
        self._stream = stream
        self._on_lines = on_lines
        self._on_end = on_end
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._process: Popen[bytes] | None = None
        self._output: processes.Output | None = None

    @property
    def pid(self) -> int | None:
        """Its process; None before it starts."""
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """As a container's: a signal counts from 128. None while it runs."""
        code = self._process.poll() if self._process else None
        return code if code is None or code >= 0 else 128 - code

    @property
    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._tail)

    def start(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        """Starts its process.

        Raises:
            OSError: there is no such command.
        """
        self._process = processes.spawn(command, environment, folder)
        self._output = processes.Output(self._process, self._take)
        threading.Thread(target=self._await_end, args=(self._process,), name=f"container-{self.pid}").start()

    def stop(self, grace: float) -> None:
        """Ends its process and all that it has started, and takes the rest of its log.

        Args:
            grace: seconds between SIGTERM and SIGKILL.
        """
        if self._process is not None:
            processes.stop(self._process, grace)
        if self._output is not None:
            self._output.join(DRAIN)

    def _await_end(self, process: Popen[bytes]) -> None:
        process.wait()
        self._on_end()

    def _take(self, lines: list[str]) -> None:
        # An error here must not end the thread that keeps the process from blocking on a full pipe.
        try:
            self._tail.extend(line for line in lines if line.strip())
            self._stream.write(lines)
            self._on_lines(lines)
        except Exception:
            log.exception("the log of %s was not taken", self.host)
