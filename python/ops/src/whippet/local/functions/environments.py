"""A Lambda execution environment: runs one function, for one event at a time.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from whippet.local import processes
from whippet.local.access.principals import end_session, session_environment
from whippet.local.clock import Clock
from whippet.local.functions.memory import MemoryWatch, resident
from whippet.local.functions.records import Function
from whippet.local.functions.runtime import Packages
from whippet.local.functions.runtime_api import Invocation
from whippet.local.functions.sandbox import Sandbox, SandboxError
from whippet.local.logs import LogStream
from whippet.local.settings import Settings

#: Bytes of an answer: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_RESPONSE_BYTES = 6_291_556
#: Seconds that the init phase of a provisioned environment may take, or the function's time limit where that is longer.
PROVISIONED_INIT_SECONDS = 130.0

#: What becomes of an event whose environment is ended, as when local AWS stops.
KILLED = SandboxError("error", "Runtime.ExitError", "Runtime exited with error: signal: killed")


@dataclass(frozen=True)
class Event:
    """What a function is called with.

    Attributes:
        request_id: the id of the invocation.
        body: JSON.
        arn: of the function, as it was invoked.
        client_context: JSON that the caller has sent along; empty where it has not.
    """

    request_id: str
    body: bytes
    arn: str
    client_context: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of an event.

    Attributes:
        payload: the function's answer, or its error.
        is_error: whether the function failed.
        log: what was logged, as text.
        duration_ms: how long it took, without the init phase.
    """

    payload: bytes
    is_error: bool
    log: str
    duration_ms: float


@dataclass(frozen=True)
class Host:
    """What all environments run on.

    Attributes:
        settings: folders, limits and the gateway's address.
        clock: what the logs tell the time by.
        packages: unpacks the code.
        memory: ends what uses too much of it.
    """

    settings: Settings
    clock: Clock
    packages: Packages
    memory: MemoryWatch


class Environment:
    """Runs a function in a sandbox, and logs what Lambda does.

    The sandbox is started by the first event, or by `initialise` ahead of it; after a failure, by the next event. The
    environment itself, with its folder and its log stream, stays.

    Args:
        function: what it runs.
        host: what it runs on.
        is_provisioned: whether it is initialised ahead of its events.

    Attributes:
        is_outdated: the function has changed; no further event may run here.
        idle_since: when it last had something to do, by the clock.
    """

    def __init__(self, function: Function, host: Host, is_provisioned: bool = False) -> None:
        self.function = function
        self.is_provisioned = is_provisioned
        self.is_outdated = False
        self.idle_since = host.clock.time()
        self._host = host
        self._sandbox: Sandbox | None = None
        self._code: Path | None = None
        self._session: Mapping[str, str] = {}
        self._starting = threading.Lock()
        self._was_killed = False
        self._is_new = True
        self._lines: list[str] = []
        self._peak_bytes = 0
        self._folder = Path(tempfile.mkdtemp(dir=host.settings.work))
        self._stream = f"{host.clock.now():%Y/%m/%d}/[{function.version}]{uuid.uuid4().hex}"
        self._log = LogStream(
            function.role_arn,
            function.region,
            function.log_group,
            self._stream,
            host.clock,
        )

    @property
    def pid(self) -> int | None:
        """The id of the process; None where none runs."""
        sandbox = self._sandbox
        return sandbox.pid if sandbox is not None and sandbox.is_alive() else None

    def initialise(self) -> bool:
        """Goes through the init phase ahead of the first event; whether that succeeds."""
        self._is_new = False
        seconds = max(PROVISIONED_INIT_SECONDS, self.function.timeout)
        init_ms, failure = self._initialise("init", seconds)
        if failure is None:
            # As for any environment that is initialised ahead; AWS documents no further field of the line.
            self._lines.append(f"INIT_REPORT Init Duration: {init_ms:.2f} ms")
        self._write_log()
        return failure is None

    def run(self, event: Event) -> Outcome:
        """Runs one event to its end."""
        init_ms = None
        if self._is_new:
            self._is_new = False
            init_ms, failure = self._initialise("init", self._host.settings.init_timeout)
            init_ms = init_ms if failure is None else None
        started = time.perf_counter()
        try:
            payload, is_error = self._run(event, started + self.function.timeout)
            lost = None
        except SandboxError as error:
            lost = self._timed_out() if error.status == "timeout" else error
            payload, is_error = lost.payload(event.request_id), True
        duration_ms = (time.perf_counter() - started) * 1000
        if lost is not None:
            self._end_sandbox()
            self._note_loss(event.request_id, lost)
        error_type = lost.error_type if lost else ""
        if len(payload) > MAX_RESPONSE_BYTES and lost is None:
            error_type = "Function.ResponseSizeTooLarge"
            message = f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."
            payload, is_error = json.dumps({"errorMessage": message, "errorType": error_type}).encode(), True
        status = (lost.status if lost else "error") if error_type else ""
        self._report(event.request_id, duration_ms, init_ms, status, error_type)
        return Outcome(payload, is_error, self._write_log(), duration_ms)

    def kill(self) -> None:
        """Ends the environment at once; it is given no notice on AWS either."""
        self._was_killed = True
        self._end_sandbox()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, event: Event, deadline: float) -> tuple[bytes, bool]:
        """What the function answers, and whether that is an error.

        Raises:
            SandboxError: it did not answer.
        """
        failure = None
        if self.pid is None:  # the init phase has failed, or the last event did: Lambda initialises again, now
            _, failure = self._initialise("invoke", deadline - time.perf_counter())
        self._lines.append(f"START RequestId: {event.request_id} Version: {self.function.version}")
        if failure is not None:
            raise failure
        if (sandbox := self._sandbox) is None:
            raise KILLED
        with self._watched(sandbox):
            seconds = deadline - time.perf_counter()
            result = sandbox.call(self._invocation(event, seconds), seconds)
            self._peak_bytes = max(self._peak_bytes, resident([sandbox.pid]))
        return result.body, result.is_error

    def _initialise(self, phase: str, seconds: float) -> tuple[float, SandboxError | None]:
        """Goes through the init phase; how long it took in milliseconds, and why it failed, if it did.

        Args:
            phase: init, or invoke where an event waits for it.
            seconds: how long it may take.
        """
        self._end_sandbox()
        try:
            sandbox = self._start()
        except SandboxError as killed:
            return 0.0, killed
        with self._watched(sandbox):
            try:
                return sandbox.await_ready(seconds), None
            except SandboxError as failure:
                lost, init_ms = failure, sandbox.age_ms()
                self._end_sandbox()
        fields = [f"INIT_REPORT Init Duration: {init_ms:.2f} ms", f"Phase: {phase}", f"Status: {lost.status}"]
        if lost.status != "timeout":
            fields.append(f"Error Type: {lost.error_type}")
        self._lines.append("\t".join(fields))
        return init_ms, lost

    @contextmanager
    def _watched(self, sandbox: Sandbox) -> Iterator[None]:
        """Looks at the memory of a sandbox meanwhile, and takes over what it has printed."""
        memory = self._host.memory
        memory.watch(sandbox.pid, self.function.memory_mb * 2**20, sandbox.end_for_memory)
        try:
            yield
        finally:
            self._peak_bytes = max(self._peak_bytes, memory.forget(sandbox.pid))
            sandbox.drain()

    def _start(self) -> Sandbox:
        function = self.function
        with self._starting:
            if self._was_killed:
                raise KILLED
            code = self._code = self._host.packages.take(function.code, function.code_sha256)
            self._session = session_environment(
                function.role_arn, function.name, function.region, {"lambda:SourceFunctionArn": function.arn}
            )
            self._sandbox = Sandbox(function.handler, self._variables(code), code, self._lines.extend)
            return self._sandbox

    def _end_sandbox(self) -> None:
        with self._starting:  # two may want to: the event that runs, and whoever ends the environment
            sandbox, self._sandbox = self._sandbox, None
            code, self._code = self._code, None
            session, self._session = self._session, {}
        if sandbox is not None:
            sandbox.kill()
        end_session(session)
        if code is not None:
            self._host.packages.give_back(code)

    def _timed_out(self) -> SandboxError:
        return SandboxError("timeout", "Sandbox.Timedout", f"Task timed out after {self.function.timeout:.2f} seconds")

    def _invocation(self, event: Event, seconds: float) -> Invocation:
        now = time.time()  # the wall's, by which the function tells what is left
        headers = {
            "Lambda-Runtime-Deadline-Ms": str(int((now + seconds) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": event.arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-{int(now):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
        }
        if event.client_context:
            headers["Lambda-Runtime-Client-Context"] = event.client_context
        return Invocation(event.request_id, event.body, headers)

    def _note_loss(self, request_id: str, lost: SandboxError) -> None:
        """Logs what Lambda itself logs when a process is lost; what the function's runtime tells, it has logged."""
        if lost.status == "timeout":
            now = datetime.fromtimestamp(self._host.clock.time(), UTC)
            stamp = f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"
            self._lines += [f"{stamp} {request_id} {lost.message}", ""]
        elif lost.message:
            self._lines += [f"RequestId: {request_id} Error: {lost.message}", lost.error_type]

    def _report(self, request_id: str, duration_ms: float, init_ms: float | None, status: str, error_type: str) -> None:
        # The init phase is billed since August 2025:
        # https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/
        billed_ms = math.ceil(duration_ms + (init_ms or 0.0))
        memory_mb = min(math.ceil(self._peak_bytes / 2**20), self.function.memory_mb)
        fields = [
            f"REPORT RequestId: {request_id}",
            f"Duration: {duration_ms:.2f} ms",
            f"Billed Duration: {billed_ms} ms",
            f"Memory Size: {self.function.memory_mb} MB",
            f"Max Memory Used: {memory_mb} MB",
            *([f"Init Duration: {init_ms:.2f} ms"] if init_ms is not None else []),
            *([f"Status: {status}"] if status else []),
            *([f"Error Type: {error_type}"] if status == "error" else []),
        ]
        self._lines += [f"END RequestId: {request_id}", "\t".join([*fields, ""])]

    def _write_log(self) -> str:
        lines, self._lines[:] = list(self._lines), []
        self._log.write(lines)
        return "\n".join([*lines, ""])

    def _variables(self, code: Path) -> dict[str, str]:
        """https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html."""
        function, work = self.function, self._host.settings.work
        return {
            **processes.minimal_environment(self._folder),
            **dict(function.variables),
            **self._session,
            "AWS_DEFAULT_REGION": function.region,
            "AWS_ENDPOINT_URL": self._host.settings.url,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": function.version,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency" if self.is_provisioned else "on-demand",
            "AWS_LAMBDA_LOG_FORMAT": function.log_format,
            "AWS_LAMBDA_LOG_GROUP_NAME": function.log_group,
            "AWS_LAMBDA_LOG_STREAM_NAME": self._stream,
            "AWS_REGION": function.region,
            "LAMBDA_RUNTIME_DIR": str(work / "runtime"),
            "LAMBDA_TASK_ROOT": str(code),
            "PYTHONDONTWRITEBYTECODE": "1",  # the code folder is read-only on AWS
            "PYTHONPATH": str(work / "runtime"),
            "TZ": ":UTC",
            "_HANDLER": function.handler,
        }
