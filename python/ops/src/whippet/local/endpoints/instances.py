"""The instances of an endpoint: each keeps one container running, as SageMaker's do.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

from __future__ import annotations

import enum
import logging
import shutil
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from whippet.local import processes
from whippet.local.clock import Clock
from whippet.local.endpoints.connections import (
    Answer,
    AnswerTooLargeError,
    Connections,
    NoAnswerError,
    NotSentError,
)
from whippet.local.logs import LogStream

log = logging.getLogger(__name__)

#: Seconds between two health checks of a starting container.
START_INTERVAL = 0.05
#: Seconds that one health check may take:
#: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html#your-algorithms-inference-algo-ping-requests
PING_TIMEOUT = 2.0
#: Health checks in a row that a container must miss to count as hung. AWS does not tell its number.
MAX_MISSED = 2
#: Seconds of the wall before a container is started again, doubled with each start that fails. AWS does not tell them.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
#: Ports that are tried when another program takes the one just found.
PORT_TRIES = 5
#: Lines of a container's log that a failure's reason quotes.
TAIL_LINES = 10
#: Letters of a FailureReason: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeEndpoint.html
MAX_REASON = 1024
#: Bytes of the body of an invocation and of its answer:
#: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
MAX_BODY_BYTES = 6_291_456


@dataclass(frozen=True)
class Launch:
    """How the container of an instance is started and watched.

    Attributes:
        variant: the name of the production variant.
        command: starts the container.
        environment: its environment.
        folder: where the folders of the containers are.
        role_arn: the model's execution role, which writes the log.
        region: where the log is.
        log_group: the log group; each instance has a stream in it.
        startup_timeout: seconds for it to become healthy.
        invocation_timeout: seconds for it to answer an invocation.
        ping_interval: seconds between two health checks.
        grace: seconds between SIGTERM and SIGKILL.
        clock: gives the time of the log's lines.
    """

    variant: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    role_arn: str
    region: str
    log_group: str
    startup_timeout: float
    invocation_timeout: float
    ping_interval: float
    grace: float
    clock: Clock


class Health(enum.Enum):
    """What an instance is good for."""

    STARTING = "starting"
    HEALTHY = "healthy"
    SUSPECT = "suspect"  # alive, and has missed a health check
    DOWN = "down"


class Load:
    """The invocations of an instance that are under way; the caller holds a lock."""

    def __init__(self) -> None:
        self.outstanding = 0
        self._seconds = 0.0
        self._since = self._changed_at = time.perf_counter()

    def change(self, by: int) -> None:
        """Notes the begin or the end of an invocation."""
        now = time.perf_counter()
        self._seconds += self.outstanding * (now - self._changed_at)
        self._changed_at = now
        self.outstanding += by

    def take_mean(self) -> float:
        """How many there were on the average since this was asked last."""
        self.change(0)
        mean = self._seconds / max(1e-9, self._changed_at - self._since)
        self._seconds, self._since = 0.0, self._changed_at
        return mean


class Instance:
    """One instance of a variant. A thread starts its container, and starts it again when it ends or hangs.

    Args:
        launch: how.
        on_change: called when `health` or `failure` has changed.
        choose_port: gives a port that nothing listens on.

    Attributes:
        id: as in the name of its log stream.
        health: what it is good for.
        was_healthy: whether it ever was.
        failure: why its first start failed; it is not tried again.
        load: the invocations under way.
        turn: grows with each invocation; of equals, the one with the lowest waited longest.
    """

    def __init__(
        self, launch: Launch, on_change: Callable[[], None], choose_port: Callable[[], int] | None = None
    ) -> None:
        self.id = f"i-{uuid.uuid4().hex[:17]}"
        self.health = Health.STARTING
        self.was_healthy = False
        self.failure = ""
        self.load = Load()
        self.turn = 0
        self.port = 0
        self.pid = 0
        self._launch = launch
        self._on_change = on_change
        self._choose_port = choose_port or free_port
        self._log = LogStream(
            launch.role_arn, launch.region, launch.log_group, f"{launch.variant}/{self.id}", launch.clock
        )
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._connections = Connections(0)
        # Of its own, and new with each container, as a container's is.
        self._folder = launch.folder / self.id
        self._answered_at = 0.0
        self._grace = launch.grace
        self._is_stopped = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"instance-{self.id}", daemon=True)
        self._thread.start()

    def invoke(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Passes one invocation on.

        Raises:
            NotSentError: the container does not listen.
            NoAnswerError: it has broken off, or takes too long.
            AnswerTooLargeError: the answer is too large.
        """
        timeout = self._launch.invocation_timeout
        answer = self._connections.request(
            "POST", "/invocations", timeout=timeout, limit=MAX_BODY_BYTES, body=body, headers=headers
        )
        self._answered_at = time.monotonic()
        return answer

    def check_now(self) -> None:
        """Looks after the container before the next check is due, as when it broke off."""
        self._wake.set()

    def stop(self, grace: float | None = None) -> None:
        """Begins to end the container; `join` waits for it.

        Args:
            grace: seconds between SIGTERM and SIGKILL, where they are to be fewer than usual.
        """
        if grace is not None:
            self._grace = min(grace, self._grace)
        self._is_stopped = True
        self._wake.set()

    def join(self) -> None:
        """Waits for the end that `stop` began."""
        self._thread.join()

    def _keep(self) -> None:
        pause = FIRST_PAUSE
        while not self._is_stopped:
            try:
                if self._run_container():
                    pause = FIRST_PAUSE
            except Exception as error:
                log.exception("instance %s of %s", self.id, self._launch.log_group)
                self._give_up(f"The container could not be started: {error}.")
            self._set_health(Health.DOWN)
            if self.failure:
                return
            self._pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._is_stopped and (left := end - time.monotonic()) > 0:
            self._wake.wait(left)
            self._wake.clear()

    def _run_container(self) -> bool:
        """Runs the container until it ends, hangs or is stopped; whether it became healthy."""
        for _ in range(PORT_TRIES):
            self._wake.clear()
            process, output = self._spawn()
            try:
                reason = self._await_healthy(process)
                if self._is_stopped:
                    return False
                if not reason:
                    self.was_healthy = True
                    self._set_health(Health.HEALTHY)
                    self._watch(process)
                    return True
            finally:
                self._set_health(Health.DOWN if self.was_healthy else Health.STARTING)
                self._connections.close()  # a container hears out connections that are open before it ends
                processes.stop(process, self._grace)
                output.join(1.0)
                shutil.rmtree(self._folder, ignore_errors=True)
            if not _is_taken(self.port):
                break
            log.info("instance %s: another program has taken port %d", self.id, self.port)
        self._give_up(reason)
        return False

    def _give_up(self, reason: str) -> None:
        """Notes that the container did not become healthy: at the first time for good, later until the next start."""
        if self.was_healthy:
            log.warning("instance %s of %s did not come back: %s", self.id, self._launch.log_group, reason)
        else:
            self.failure = self._explain(reason)

    def _spawn(self) -> tuple[Popen[bytes], processes.Output]:
        self.port = self._choose_port()
        self._connections = Connections(self.port)
        self._folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **processes.minimal_environment(self._folder),
            **self._launch.environment,
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
        }
        process = processes.spawn(self._launch.command, environment, self._folder)
        self.pid = process.pid
        return process, processes.Output(process, self._on_lines, self._wake.set)

    def _await_healthy(self, process: Popen[bytes]) -> str:
        """Waits until /ping answers 200; why that does not happen, empty when it does."""
        deadline = time.monotonic() + self._launch.startup_timeout
        while not self._is_stopped:
            if process.poll() is not None:
                return f"The container ended with exit code {process.returncode}."
            if self._answers_ping():
                return ""
            if time.monotonic() > deadline:
                return f"No answer in {self._launch.startup_timeout:.0f} s."
            self._wake.wait(START_INTERVAL)
            self._wake.clear()
        return "It was stopped."

    def _watch(self, process: Popen[bytes]) -> None:
        """Checks the container's health until it ends, hangs or is stopped."""
        missed, answered_at = 0, time.monotonic()
        while True:
            self._wake.wait(self._launch.ping_interval)
            self._wake.clear()
            if self._is_stopped:
                return
            if process.poll() is not None:
                log.warning("instance %s: the container ended with exit code %d", self.id, process.returncode)
                return
            if self._answers_ping():
                missed, answered_at = 0, time.monotonic()
                self._set_health(Health.HEALTHY)
                continue
            missed += 1
            self._set_health(Health.SUSPECT)
            # A server with one thread cannot answer while it computes, which it may do as long as an invocation takes.
            silence = time.monotonic() - max(answered_at, self._answered_at)
            is_busy = self.load.outstanding > 0 and silence < self._launch.invocation_timeout
            if missed >= MAX_MISSED and not is_busy:
                log.warning("instance %s: the container has missed %d health checks", self.id, missed)
                return

    def _answers_ping(self) -> bool:
        try:
            return self._connections.request("GET", "/ping", timeout=PING_TIMEOUT, limit=MAX_BODY_BYTES).status == 200
        except (NotSentError, NoAnswerError, AnswerTooLargeError):
            return False

    def _set_health(self, health: Health) -> None:
        if health is not self.health or self.failure:
            self.health = health
            self._on_change()

    def _on_lines(self, lines: list[str]) -> None:
        self._tail.extend(line for line in lines if line.strip())
        self._log.write(lines)

    def _explain(self, reason: str) -> str:
        text = (
            f"The primary container for production variant {self._launch.variant} did not pass the ping health check. "
            f"{reason} Please check CloudWatch logs for this endpoint."
        )
        if self._tail:
            text += " The last lines are:\n"
            text += "\n".join(self._tail)[-(MAX_REASON - len(text)) :]
        return text


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_taken(port: int) -> bool:
    """Whether somebody listens on a port, though our container has ended."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
