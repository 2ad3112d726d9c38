"""A Lambda execution environment: one process that runs one function, for one event at a time.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

from __future__ import annotations

import json
import math
import queue
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from whippet.local import processes
from whippet.local.access.principals import session_environment
from whippet.local.functions import runtime
from whippet.local.functions.runtime_api import Exited, InitError, Invocation, Ready, Result, RuntimeApi
from whippet.local.logs import LogStream


@dataclass(frozen=True)
class Function:
    """A function as one version of its configuration has it; equal ones can share environments.

    Attributes:
        arn: its ARN, with the number of a published version.
        name: its name.
        version: `$LATEST` or a number.
        region: where it is.
        code_sha256: digest of its zip.
        handler: module.function.
        runtime: as in python3.12.
        role_arn: the role it runs as.
        memory_mb: what it may use.
        timeout: seconds for one event.
        variables: its environment variables.
    """

    arn: str
    name: str
    version: str
    region: str
    code_sha256: str
    handler: str
    runtime: str
    role_arn: str
    memory_mb: int
    timeout: int
    variables: tuple[tuple[str, str], ...]

    @property
    def pool(self) -> str:
        """The ARN without the version: what concurrency is reserved for."""
        return ":".join(self.arn.split(":")[:7])


@dataclass(frozen=True)
class Outcome:
    """What became of an event.

    Attributes:
        payload: the function's answer, or its error.
        is_error: whether the function failed.
        log: what was logged, as text.
    """

    payload: bytes
    is_error: bool
    log: str


class EnvironmentLostError(Exception):
    """An environment has ended and can take no event; `payload` is the error that the caller gets."""

    def __init__(self, payload: Mapping[str, str]) -> None:
        super().__init__(payload["errorMessage"])
        self.payload = dict(payload)


class Environment:
    """One process under awslambdaric, with the Runtime API that it talks to.

    Args:
        function: what it runs.
        code: the folder with the unpacked zip.
        work: where its own folder goes.
        endpoint_url: the gateway, for the AWS clients in the function.
        init_timeout: seconds for the init phase.
        clock: seconds since 1970.

    Attributes:
        is_outdated: the function has changed; no further event may run here.
    """

    def __init__(
        self,
        function: Function,
        code: Path,
        work: Path,
        endpoint_url: str,
        init_timeout: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.function = function
        self.is_outdated = False
        self._has_ended = False
        self._clock = clock
        self._init_timeout = init_timeout
        self._lines: list[str] = []
        self._init_ms: float | None = None
        self._peak_bytes = 0
        self._folder = Path(tempfile.mkdtemp(dir=work))
        stream = f"{datetime.fromtimestamp(clock(), UTC):%Y/%m/%d}/[{function.version}]{uuid.uuid4().hex}"
        self._log = LogStream(
            function.role_arn, function.region, log_group(function.name), stream, lambda: int(clock() * 1000)
        )
        self._api = RuntimeApi()
        self._started = time.perf_counter()
        self._process = processes.spawn(
            [*runtime.COMMAND, function.handler], self._environment(code, work, endpoint_url, stream), code
        )
        self._output = processes.Output(self._process, self._lines.extend, on_end=self._on_end)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether the process runs."""
        # The closed pipe tells earlier: the exit code of a process comes when the last of its threads is gone.
        return not self._has_ended and self._process.poll() is None

    def run(self, event: bytes, request_id: str) -> Outcome:
        """Runs one event to its end; after a failure of the process the environment is dead.

        Args:
            event: JSON.
            request_id: the id of the invocation.
        """
        self._lines.append(f"START RequestId: {request_id} Version: {self.function.version}")
        is_cold = self._init_ms is None
        started = time.perf_counter()
        try:
            if is_cold:
                self._await_init(request_id)
            started = time.perf_counter()
            result = self._await_result(event, request_id)
            payload, is_error = result.body, result.is_error
        except EnvironmentLostError as lost:
            self.kill()
            payload, is_error = json.dumps(lost.payload).encode(), True
        duration_ms = (time.perf_counter() - started) * 1000
        self._output.drain()
        if is_error:
            self._note_error(payload, request_id)
        log = self._report(request_id, duration_ms, self._init_ms if is_cold else None)
        return Outcome(payload, is_error, log)

    def kill(self) -> None:
        """Ends the process at once; an environment is given no notice on AWS either."""
        processes.stop(self._process, grace=0)
        self._api.close()
        self._output.join(1.0)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _await_init(self, request_id: str) -> None:
        """Waits for the end of the init phase.

        Raises:
            EnvironmentLostError: it failed.
        """
        try:
            event = self._api.events.get(timeout=self._init_timeout)
        except queue.Empty:
            raise self._lost(
                request_id, "Sandbox.Timedout", f"Init timed out after {self._init_timeout:.2f} s"
            ) from None
        self._init_ms = (time.perf_counter() - self._started) * 1000
        if isinstance(event, InitError):
            raise EnvironmentLostError(json.loads(event.body))
        if not isinstance(event, Ready):
            raise self._exited(request_id)

    def _await_result(self, event: bytes, request_id: str) -> Result:
        """Hands an event over and waits for the answer.

        Raises:
            EnvironmentLostError: the time is over, or the process has ended.
        """
        timeout = self.function.timeout
        deadline_ms = int((self._clock() + timeout) * 1000)
        headers = {
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": self.function.arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-{int(self._clock()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
        }
        self._api.submit(Invocation(request_id, event, headers))
        try:
            reported = self._api.events.get(timeout=timeout)
        except queue.Empty:
            raise self._lost(request_id, "Sandbox.Timedout", f"Task timed out after {timeout:.2f} seconds") from None
        if not isinstance(reported, Result):
            raise self._exited(request_id)
        return reported

    def _lost(self, request_id: str, kind: str, what: str) -> EnvironmentLostError:
        return EnvironmentLostError({"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {what}"})

    def _exited(self, request_id: str) -> EnvironmentLostError:
        code = self._process.wait()
        how = f"exit status {code}" if code >= 0 else f"signal: {-code}"
        return self._lost(request_id, "Runtime.ExitError", f"Runtime exited with error: {how}")

    def _on_end(self) -> None:
        self._has_ended = True
        self._api.events.put(Exited())

    def _note_error(self, payload: bytes, request_id: str) -> None:
        """Logs what Lambda itself logs about a failure; the function's own exceptions log themselves."""
        error = json.loads(payload)
        if str(error.get("errorType", "")).startswith(("Sandbox.", "Runtime.ExitError")):
            self._lines.append(
                f"{datetime.fromtimestamp(self._clock(), UTC):%Y-%m-%dT%H:%M:%S.%fZ} {error['errorMessage']}"
            )

    def _report(self, request_id: str, duration_ms: float, init_ms: float | None) -> str:
        """Writes the last lines of an event to the log, and gives all of its lines."""
        self._measure_memory()
        # The init phase is billed since August 2025:
        # https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/
        billed_ms = math.ceil(duration_ms + (init_ms or 0.0))
        fields = [
            f"REPORT RequestId: {request_id}",
            f"Duration: {duration_ms:.2f} ms",
            f"Billed Duration: {billed_ms} ms",
            f"Memory Size: {self.function.memory_mb} MB",
            f"Max Memory Used: {math.ceil(self._peak_bytes / 2**20)} MB",
            *([f"Init Duration: {init_ms:.2f} ms"] if init_ms is not None else []),
        ]
        self._lines += [f"END RequestId: {request_id}", "\t".join([*fields, ""])]
        lines, self._lines[:] = list(self._lines), []
        self._log.write(lines)
        return "\n".join([*lines, ""])

    def _measure_memory(self) -> None:
        try:
            self._peak_bytes = max(self._peak_bytes, psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return

    def _environment(self, code: Path, work: Path, endpoint_url: str, stream: str) -> dict[str, str]:
        """https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html."""
        function = self.function
        return {
            **processes.minimal_environment(self._folder),
            **dict(function.variables),
            **session_environment(function.role_arn, function.name, function.region),
            "AWS_DEFAULT_REGION": function.region,
            "AWS_ENDPOINT_URL": endpoint_url,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": function.version,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": log_group(function.name),
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "AWS_REGION": function.region,
            "LAMBDA_RUNTIME_DIR": str(work / "runtime"),
            "LAMBDA_TASK_ROOT": str(code),
            "PYTHONDONTWRITEBYTECODE": "1",  # the code folder is read-only on AWS
            "PYTHONPATH": str(work / "runtime"),
            "TZ": ":UTC",
            "_HANDLER": function.handler,
        }


def log_group(function_name: str) -> str:
    """Where a function logs."""
    return f"/aws/lambda/{function_name}"
