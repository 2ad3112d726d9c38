"""Starts, looks at, empties and stops local AWS, which is a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import filelock
import psutil

from whippet.errors import WhippetError
from whippet.local.settings import DEFAULT_PORT, DEFAULT_REGION, Settings, home_of

#: Seconds for the process to answer its first status request; it takes three, more on a busy machine.
START_TIMEOUT = 60.0
#: Seconds for the process to stop everything before it is killed.
STOP_TIMEOUT = 15.0
#: Seconds for an answer about what runs.
ANSWER_TIMEOUT = 5.0
POLL_INTERVAL = 0.05

_STATUS_PATH, _RESET_PATH, _SPEED_PATH = "/_whippet/status", "/_whippet/reset", "/_whippet/speed"
_CONTROL = {"X-Whippet-Control": "yes"}
# Never through a proxy: what is asked is on this machine.
_http = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class LocalAwsError(WhippetError):
    """Local AWS cannot do what it was asked; the text is one line that says what to do."""


class PortInUseError(LocalAwsError):
    """Another program listens on the port."""


class StartError(LocalAwsError):
    """The process did not come up."""


@dataclass(frozen=True)
class InstanceStatus:
    """One instance of an endpoint."""

    pid: int
    port: int


@dataclass(frozen=True)
class EndpointStatus:
    """One SageMaker endpoint; `status` is the one that DescribeEndpoint gives."""

    name: str
    status: str
    instances: tuple[InstanceStatus, ...]


@dataclass(frozen=True)
class FunctionStatus:
    """One Lambda function.

    Attributes:
        environments: how many processes it has, starting ones included.
        busy: how many of them are at work.
        reserved: its reserved concurrency; None where it has none.
    """

    name: str
    environments: int
    busy: int
    reserved: int | None


@dataclass(frozen=True)
class JobStatus:
    """One training job that runs; `status` is the SecondaryStatus that DescribeTrainingJob gives."""

    name: str
    status: str
    pids: tuple[int, ...]


@dataclass(frozen=True)
class Status:
    """What runs.

    Attributes:
        url: where AWS clients connect.
        pid: the process.
        id: of the state; a reset gives another one, and whoever remembers resources of another remembers what is gone.
        started_at: when it was started or reset, ISO 8601.
        now: what its clock shows, ISO 8601.
        speed: seconds of its clock in one of the wall.
        concurrency: Lambda environments that the account may have at once.
        state: the folder that survives the process.
        state_bytes: what that takes on disk.
        notice: one line about what is wrong with it; empty where nothing is.
    """

    url: str
    pid: int
    id: str
    started_at: str
    now: str
    speed: float
    region: str
    account: str
    concurrency: int
    endpoints: tuple[EndpointStatus, ...]
    functions: tuple[FunctionStatus, ...]
    jobs: tuple[JobStatus, ...]
    log: Path
    state: Path
    state_bytes: int
    notice: str


def url(port: int = DEFAULT_PORT) -> str:
    """Where AWS clients reach the local AWS on a port."""
    return f"http://127.0.0.1:{port}"


def up(
    port: int = DEFAULT_PORT,
    region: str = DEFAULT_REGION,
    timeout: float = START_TIMEOUT,
    container_command: Sequence[str] | None = None,
    speed: float | None = None,
    concurrency: int | None = None,
) -> Status:
    """Starts local AWS with the state that it ended with, or finds that it runs already.

    Args:
        port: on 127.0.0.1.
        region: the region that it reports.
        timeout: seconds to wait for it.
        container_command: starts one endpoint instance, `whippet_serving` unless given; see `Settings`.
        speed: seconds of its clock in one of the wall, 1 unless given; the clock of one that runs is changed.
        concurrency: Lambda environments that the account may have at once, AWS's 1,000 unless given.

    Raises:
        PortInUseError: another program listens on the port.
        StartError: it did not come up.
        LocalAwsError: one runs, with another concurrency.
    """
    settings = Settings(home=home_of(port), port=port, region=region)
    settings = replace(settings, speed=speed or settings.speed)
    settings = replace(settings, account_concurrency=concurrency or settings.account_concurrency)
    if container_command is not None:
        settings = replace(settings, container_command=tuple(container_command))
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.home.chmod(0o700)  # the state holds secrets
        # Of two that start at once, the second finds what the first has started.
        with filelock.FileLock(settings.home / "up.lock", timeout=timeout):
            running = status(port)
            return _start(settings, timeout) if running is None else _adjusted(running, port, speed, concurrency)
    except filelock.Timeout:
        raise StartError(f"Another `whippet local up` has been starting for {timeout:.0f} s: end it first.") from None
    except OSError as error:
        raise StartError(f"Local AWS cannot start in {settings.home}: {error.strerror or error}.") from error


def status(port: int = DEFAULT_PORT) -> Status | None:
    """What runs on a port, None where local AWS does not.

    Raises:
        LocalAwsError: it is there and does not answer.
    """
    answer = _ask(port, "GET", _STATUS_PATH)
    return None if answer is None else _read_status(answer)


def identity(port: int = DEFAULT_PORT) -> str | None:
    """The id of the state on a port, also of one that does not run; None where there is none."""
    running = status(port)
    if running is not None:
        return running.id
    try:
        return (Settings(home=home_of(port)).state / "id").read_text()
    except OSError:
        return None


def reset(port: int = DEFAULT_PORT) -> Status | None:
    """Empties local AWS: every resource and every process in it goes.

    Returns:
        What runs now; None where nothing ran, and only the state on disk was removed.

    Raises:
        LocalAwsError: it is being started.
    """
    answer = _ask(port, "POST", _RESET_PATH, STOP_TIMEOUT)
    if answer is not None:
        return _read_status(answer)
    settings = Settings(home=home_of(port))
    if settings.home.exists():
        try:
            with filelock.FileLock(settings.running_lock, timeout=0):
                shutil.rmtree(settings.state, ignore_errors=True)
        except filelock.Timeout:
            raise LocalAwsError(f"Local AWS on port {port} is being started or stopped: wait for it.") from None
    return None


def down(port: int = DEFAULT_PORT, timeout: float = STOP_TIMEOUT) -> bool:
    """Stops local AWS and every process in it; its state stays on disk, for the next `up`.

    Args:
        port: on 127.0.0.1.
        timeout: seconds after which the process is killed; its children go with it all the same.

    Returns:
        Whether there was something to stop.
    """
    process = _running_process(port)
    if process is None:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        session = _session_of(process)
        process.terminate()
        try:
            process.wait(timeout)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait()
        # A killed process leaves the rest to the reaper, which needs a moment.
        psutil.wait_procs(session, timeout)
    # One that was killed could not tidy up.
    shutil.rmtree(Settings(home=home_of(port)).work, ignore_errors=True)
    _pid_file(port).unlink(missing_ok=True)
    return True


def _start(settings: Settings, timeout: float) -> Status:
    if holder := _holder_of(settings.port):
        raise PortInUseError(
            f"Port {settings.port} is in use by {holder}: stop that, or choose another port with --port."
        )
    command = [sys.executable, "-m", "whippet.local", "--port", str(settings.port), "--region", settings.region]
    command += ["--container", shlex.join(settings.container_command), "--speed", str(settings.speed)]
    command += ["--concurrency", str(settings.account_concurrency)]
    with settings.log.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=settings.home,
            env=_own_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _pid_file(settings.port).write_text(str(process.pid))
        return _await_start(process, settings, timeout)
    except BaseException:  # also Ctrl-C: nothing half-started stays
        process.terminate()
        process.wait()
        raise


def _adjusted(running: Status, port: int, speed: float | None, concurrency: int | None) -> Status:
    """One that runs already, with the speed that was asked for."""
    if concurrency not in (None, running.concurrency):
        raise LocalAwsError(
            f"Local AWS already runs with a concurrency of {running.concurrency}: end it with `whippet local down`."
        )
    if speed in (None, running.speed):
        return running
    answer = _ask(port, "POST", f"{_SPEED_PATH}?speed={speed}")
    return running if answer is None else _read_status(answer)


def _await_start(process: subprocess.Popen[bytes], settings: Settings, timeout: float) -> Status:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = settings.log.read_text(errors="replace").strip().splitlines()
            raise StartError(f"Local AWS did not start: {lines[-1] if lines else 'no reason given'} ({settings.log})")
        if (running := status(settings.port)) is not None:
            return running
        time.sleep(POLL_INTERVAL)
    raise StartError(f"Local AWS did not start in {timeout:.0f} s: see {settings.log}.")


def _own_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the user's AWS settings: none of their profiles or credentials may get in."""
    return {name: value for name, value in environment.items() if not name.startswith("AWS_")}


def _holder_of(port: int) -> str | None:
    """Names what listens on a port, None where nothing does."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        with contextlib.suppress(psutil.Error):
            for connection in psutil.net_connections("tcp"):
                is_it = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
                if is_it and connection.pid:
                    return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
        return "another program"
    return None


def _pid_file(port: int) -> Path:
    return home_of(port) / "pid"


def _running_process(port: int) -> psutil.Process | None:
    """The process on a port, also one that does not answer any more."""
    try:
        answer = _ask(port, "GET", _STATUS_PATH)
    except LocalAwsError:
        answer = None
    if answer is None:
        return _recorded_process(port)
    try:
        return psutil.Process(answer["pid"])
    except psutil.NoSuchProcess:  # it has just ended
        return None


def _recorded_process(port: int) -> psutil.Process | None:
    """The process that `up` started last on a port, if it runs."""
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int(_pid_file(port).read_text()))
        # The number may have gone to another program since.
        if {"whippet.local", str(port)} <= set(process.cmdline()):
            return process
    return None


def _session_of(process: psutil.Process) -> list[psutil.Process]:
    """The processes that live and die with it."""
    members = []
    for other in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if other.pid != process.pid and os.getsid(other.pid) == process.pid:
                members.append(other)
    return members


def _ask(port: int, method: str, path: str, timeout: float | None = None) -> dict[str, Any] | None:
    """Asks local AWS; None where it does not run, also where something else listens.

    Raises:
        LocalAwsError: it listens and does not answer.
    """
    request = urllib.request.Request(url(port) + path, method=method, headers=_CONTROL)  # noqa: S310 - always http
    try:
        with _http.open(request, timeout=timeout or ANSWER_TIMEOUT) as response:
            answer = json.load(response)
    except TimeoutError:
        if _recorded_process(port) is None:
            return None
        raise LocalAwsError(f"Local AWS on port {port} does not answer: end it with `whippet local down`.") from None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return answer if isinstance(answer, dict) and "started_at" in answer else None


def _read_status(answer: Mapping[str, Any]) -> Status:
    endpoints = tuple(
        EndpointStatus(one["name"], one["status"], tuple(InstanceStatus(**instance) for instance in one["instances"]))
        for one in answer["endpoints"]
    )
    functions = tuple(FunctionStatus(**one) for one in answer["functions"])
    jobs = tuple(JobStatus(one["name"], one["status"], tuple(one["pids"])) for one in answer["jobs"])
    paths = {name: Path(answer[name]) for name in ("log", "state")}
    return Status(**{**answer, "endpoints": endpoints, "functions": functions, "jobs": jobs, **paths})
