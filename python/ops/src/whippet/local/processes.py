"""Starts and stops the processes behind the gateway, reads their output, and lets none of them outlive it."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

log = logging.getLogger(__name__)

#: Bytes that a pipe holds, and so that `Output` reads at once: a process may write faster than anybody reads.
PIPE_BYTES = 65_536
#: Bytes of a line; what is longer comes in pieces. That of an event of CloudWatch Logs, less what counts beside it:
#: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
MAX_LINE_BYTES = 1_048_576 - 26


def spawn(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> subprocess.Popen[bytes]:
    """Starts a process in a group of its own, with its output on one pipe and nothing inherited but `environment`.

    Its children share the group, so that `stop` reaches them; all groups stay in the gateway's session, so that the
    reaper does.
    """
    return subprocess.Popen(
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    )


def stop(process: subprocess.Popen[bytes], grace: float) -> None:
    """Stops a process that `spawn` started, and its children: SIGTERM, `grace` seconds, SIGKILL."""
    if grace > 0 and process.poll() is None:
        _signal_group(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def freeze(process: subprocess.Popen[bytes]) -> None:
    """Stops the clock of a process that `spawn` started, and of its children: nothing in it runs until `thaw`."""
    _signal_group(process, signal.SIGSTOP)


def thaw(process: subprocess.Popen[bytes]) -> None:
    """Lets a frozen process go on."""
    _signal_group(process, signal.SIGCONT)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def minimal_environment(folder: Path) -> dict[str, str]:
    """The host's variables that a container would also have: none of the user's credentials, proxies or settings."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}


class Output:
    """Hands over the lines that a process writes, as they come.

    A thread reads the pipe, so that the process never blocks on a full one. `drain` reads what is there at once, for
    a caller who knows that the process has written and must not wait for the thread.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        on_lines: Callable[[list[str]], None],
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._pipe = cast(BinaryIO, process.stdout)  # `spawn` always makes it
        self._on_lines = on_lines
        self._on_end = on_end
        self._rest = b""
        self._lock = threading.Lock()
        os.set_blocking(self._pipe.fileno(), False)
        self._thread = threading.Thread(target=self._read_on, name=f"output-{process.pid}", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """Hands over what the process has written so far."""
        with self._lock:
            self._read()

    def join(self, timeout: float) -> None:
        """Waits until the process, and all that it started, have closed the pipe."""
        self._thread.join(timeout)

    def _read_on(self) -> None:
        # poll(), since select() fails on descriptors above 1023.
        poller = select.poll()
        poller.register(self._pipe.fileno(), select.POLLIN)
        is_open = True
        while is_open:
            poller.poll()
            with self._lock:
                is_open = self._read()
        with self._lock:
            if self._rest:
                self._hand_over([self._rest])
            self._pipe.close()
        self._on_end()

    def _read(self) -> bool:
        """Reads what is there, as much as a pipe holds; False once the pipe is closed."""
        if self._pipe.closed:
            return False
        is_open, left = True, PIPE_BYTES
        while is_open and left > 0:
            try:
                chunk = os.read(self._pipe.fileno(), left)
            except BlockingIOError:
                break
            is_open, left = bool(chunk), left - len(chunk)
            self._take(chunk)
        return is_open

    def _take(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            lines.append(self._rest[:MAX_LINE_BYTES])
            self._rest = self._rest[MAX_LINE_BYTES:]
        if lines:
            self._hand_over(lines)

    def _hand_over(self, lines: list[bytes]) -> None:
        decoded = [line.decode(errors="replace").rstrip("\r") for line in _in_pieces(lines)]
        try:
            self._on_lines(decoded)
        except Exception:  # the process would block on a pipe that nobody reads any more
            log.exception("%d lines of a process are lost", len(decoded))


def _in_pieces(lines: list[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield from (line[start : start + MAX_LINE_BYTES] for start in range(0, len(line) or 1, MAX_LINE_BYTES))


class Reaper:
    """A process that waits for this one to end, however it ends, and then stops all that is left of its session.

    Even `kill -9` of the gateway closes its end of the pipe between the two.
    """

    def __init__(self) -> None:
        read_end, self._write_end = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "whippet.local.reaper"], stdin=read_end, stdout=subprocess.DEVNULL
        )
        os.close(read_end)

    def close(self) -> None:
        """Ends the reaper, which stops what is left of the session, this process excepted."""
        os.close(self._write_end)
        self._process.wait()
