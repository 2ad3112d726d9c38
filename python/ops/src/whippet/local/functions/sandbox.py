"""One process under awslambdaric, with the Runtime API that it talks to: what an environment runs a function in."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from whippet.local import processes
from whippet.local.functions import runtime
from whippet.local.functions.runtime_api import Event, Exited, InitError, Invocation, Ready, Result, RuntimeApi

#: Seconds between the end of a process's output and its own.
EXIT_SECONDS = 1.0


class SandboxError(Exception):
    """The process can take no event any more.

    Args:
        status: error or timeout, as the logs have it.
        error_type: as in Runtime.ExitError.
        message: what has happened; empty where the function's own runtime has told that.
        payload: what the function's own runtime has told, JSON.
    """

    def __init__(self, status: str, error_type: str, message: str = "", payload: bytes = b"") -> None:
        super().__init__(message or error_type)
        self.status = status
        self.error_type = error_type
        self.message = message
        self._payload = payload

    def payload(self, request_id: str) -> bytes:
        """The error that the caller of the function gets, JSON."""
        message = f"RequestId: {request_id} Error: {self.message}"
        return self._payload or json.dumps({"errorType": self.error_type, "errorMessage": message}).encode()


class Sandbox:
    """A process that runs one function, one event at a time; frozen while it has none.

    Args:
        handler: module.function.
        environment: the variables of the process.
        code: the folder that it runs in.
        on_lines: takes what it prints.
    """

    def __init__(
        self, handler: str, environment: Mapping[str, str], code: Path, on_lines: Callable[[list[str]], None]
    ) -> None:
        self._started = time.perf_counter()
        self._has_ended = False
        self._lacked_memory = False
        self._is_spawned = threading.Event()
        self._api = RuntimeApi(on_idle=self._freeze, on_event=self._thaw)
        variables = {**environment, "AWS_LAMBDA_RUNTIME_API": self._api.address}
        try:
            self._process = processes.spawn([*runtime.COMMAND, handler], variables, code)
        except BaseException:
            self._api.close()
            raise
        self._is_spawned.set()
        self._output = processes.Output(self._process, on_lines, on_end=self._on_end)

    @property
    def pid(self) -> int:
        """The id of the process, and of the group of it and its children."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether the process runs, or is frozen."""
        # The closed pipe tells earlier: the exit code of a process comes when the last of its threads is gone.
        return not self._has_ended and self._process.poll() is None

    def await_ready(self, timeout: float) -> float:
        """Waits for the end of the init phase.

        Args:
            timeout: seconds from now.

        Returns:
            How long the phase took since the process was started, in milliseconds.

        Raises:
            SandboxError: it failed.
        """
        reported = self._next(timeout)
        if isinstance(reported, InitError):
            raise SandboxError("error", reported.error_type, payload=reported.body)
        if not isinstance(reported, Ready):
            raise self._exited()
        return self.age_ms()

    def age_ms(self) -> float:
        """Milliseconds since the process was started."""
        return (time.perf_counter() - self._started) * 1000

    def call(self, invocation: Invocation, timeout: float) -> Result:
        """Hands an event over and waits for what becomes of it.

        Raises:
            SandboxError: the time is over, or the process has ended.
        """
        self._api.submit(invocation)
        reported = self._next(timeout)
        if not isinstance(reported, Result):
            raise self._exited()
        return reported

    def drain(self) -> None:
        """Hands over what the process has printed so far."""
        self._output.drain()

    def end_for_memory(self) -> None:
        """Ends the process since it uses more memory than it has."""
        self._lacked_memory = True
        processes.stop(self._process, grace=0)

    def kill(self) -> None:
        """Ends the process at once; it is given no notice on AWS either."""
        processes.stop(self._process, grace=0)
        self._api.close()
        self._output.join(1.0)

    def _next(self, timeout: float) -> Event:
        try:
            return self._api.events.get(timeout=max(0.0, timeout))
        except queue.Empty:
            raise SandboxError("timeout", "Sandbox.Timedout") from None

    def _exited(self) -> SandboxError:
        try:
            code = self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:  # it has only closed its output, without which nothing can be told of it
            processes.stop(self._process, grace=0)
            code = self._process.wait()
        error_type = "Runtime.OutOfMemory" if self._lacked_memory else "Runtime.ExitError"
        if code == 0:
            return SandboxError("error", error_type, "Runtime exited without providing a reason")
        how = f"exit status {code}" if code > 0 else f"signal: {(signal.strsignal(-code) or str(-code)).lower()}"
        return SandboxError("error", error_type, f"Runtime exited with error: {how}")

    def _freeze(self) -> None:
        self._is_spawned.wait()  # on a busy machine the process may be ready before its start has returned
        if self.is_alive():
            processes.freeze(self._process)

    def _thaw(self) -> None:
        if self.is_alive():
            processes.thaw(self._process)

    def _on_end(self) -> None:
        self._has_ended = True
        self._api.events.put(Exited())
