"""The instances of an endpoint: processes that answer /ping and /invocations, as SageMaker's containers do.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import urllib3

from whippet.local import processes
from whippet.local.logs import LogStream

#: Seconds between two health checks of a starting instance.
PING_INTERVAL = 0.05
#: Seconds that one health check may take, the limit of SageMaker.
PING_TIMEOUT = 2.0
#: Lines of an instance's log that a failure's reason quotes.
TAIL_LINES = 10


class InstanceError(Exception):
    """An instance did not become healthy; the text says why."""


class FleetRetiredError(Exception):
    """A fleet takes no more invocations: another one has taken over, or the endpoint is being deleted."""


@dataclass(frozen=True)
class Variant:
    """What the instances of a production variant run.

    Attributes:
        name: the variant's name.
        weight: its share of the traffic is this over the sum of all weights.
        count: how many instances it has.
        command: starts one instance.
        environment: the environment of the container.
        health_check_timeout: seconds for an instance to become healthy.
        role_arn: the model's execution role, which writes the log.
        region: where the log is.
        log_group: the log group; each instance has a stream in it.
    """

    name: str
    weight: float
    count: int
    command: tuple[str, ...]
    environment: Mapping[str, str]
    health_check_timeout: float
    role_arn: str
    region: str
    log_group: str


class Instance:
    """One process that serves a model."""

    def __init__(self, variant: Variant, folder: Path, invocation_timeout: float) -> None:
        self.port = free_port()
        self.outstanding = 0
        self._variant = variant
        stream = f"{variant.name}/i-{uuid.uuid4().hex[:17]}"
        self._log = LogStream(variant.role_arn, variant.region, variant.log_group, stream)
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        # Kept connections, and no retries: an invocation must reach the container at most once.
        self._http = urllib3.HTTPConnectionPool(
            "127.0.0.1", self.port, maxsize=64, retries=False, timeout=urllib3.Timeout(5.0, read=invocation_timeout)
        )
        environment = {
            **processes.minimal_environment(folder),
            **variant.environment,
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
        }
        self.process = processes.spawn(variant.command, environment, folder)
        self._output = processes.Output(self.process, self._on_lines)

    def await_healthy(self, cancelled: threading.Event) -> None:
        """Waits until /ping answers 200.

        Raises:
            InstanceError: the process ended, the time is over, or the wait was cancelled.
        """
        deadline = time.monotonic() + self._variant.health_check_timeout
        while not self._answers_ping():
            if self.process.poll() is not None:
                self._output.join(1.0)
                raise InstanceError(self._reason(f"The container ended with exit code {self.process.returncode}."))
            if time.monotonic() > deadline:
                raise InstanceError(self._reason(f"No answer in {self._variant.health_check_timeout:.0f} s."))
            if cancelled.wait(PING_INTERVAL):
                raise InstanceError("The deployment was cancelled.")

    def invoke(self, body: bytes, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """Passes one invocation on.

        Raises:
            urllib3.exceptions.HTTPError: no answer.
        """
        return self._http.request("POST", "/invocations", body=body, headers=headers)

    def stop(self, grace: float) -> None:
        """Ends the process."""
        processes.stop(self.process, grace)
        self._http.close()

    def _answers_ping(self) -> bool:
        try:
            return self._http.request("GET", "/ping", timeout=PING_TIMEOUT).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _on_lines(self, lines: list[str]) -> None:
        self._tail.extend(line for line in lines if line.strip())
        self._log.write(lines)

    def _reason(self, cause: str) -> str:
        tail = "\n".join(self._tail)
        return (
            f"The primary container for production variant {self._variant.name} did not pass the ping health check. "
            f"{cause} Please check CloudWatch logs for this endpoint."
            + (f" The last lines are:\n{tail}" if tail else "")
        )


class Fleet:
    """All instances of one deployment of an endpoint.

    Args:
        variants: what runs.
        folder: where it runs.
        invocation_timeout: seconds for an instance to answer.
        random: chooses among variants by weight.
    """

    def __init__(self, variants: Sequence[Variant], folder: Path, invocation_timeout: float, random: Random) -> None:
        self._variants = variants
        self._folder = folder
        self._invocation_timeout = invocation_timeout
        self._random = random
        self._instances: dict[str, list[Instance]] = {}
        self._is_retired = threading.Event()
        self._changed = threading.Condition()

    def start(self) -> None:
        """Starts every instance and waits until all are healthy.

        Raises:
            InstanceError: one did not become healthy, or the fleet was retired meanwhile; the others may run still.
        """
        for variant in self._variants:
            with self._changed:
                if self._is_retired.is_set():
                    raise InstanceError("The deployment was cancelled.")
                self._instances[variant.name] = [
                    Instance(variant, self._folder, self._invocation_timeout) for _ in range(variant.count)
                ]
        for instance in self.instances():
            instance.await_healthy(self._is_retired)

    def instances(self) -> list[Instance]:
        """The instances of all variants."""
        return [instance for instances in list(self._instances.values()) for instance in instances]

    def acquire(self, target_variant: str | None) -> tuple[str, Instance] | None:
        """Chooses the instance for an invocation, which `release` must give back.

        The variant is chosen by weight unless the caller names one; of its instances, the one with the fewest
        invocations under way, of several the one that waited longest.

        Returns:
            The variant's name and the instance; None where there is no such variant.

        Raises:
            FleetRetiredError: the fleet takes no more.
        """
        with self._changed:
            if self._is_retired.is_set():
                raise FleetRetiredError
            name = target_variant or self._draw()
            instances = self._instances.get(name, [])
            if not instances:
                return None
            instance = min(instances, key=lambda one: one.outstanding)
            # To the back of the queue: min() takes the first of equals.
            instances.remove(instance)
            instances.append(instance)
            instance.outstanding += 1
            return name, instance

    def release(self, instance: Instance) -> None:
        """Ends an invocation."""
        with self._changed:
            instance.outstanding -= 1
            self._changed.notify_all()

    def retire(self, drain: float, grace: float) -> None:
        """Takes no more invocations, lets those under way finish, and stops every instance.

        Args:
            drain: seconds for the invocations under way.
            grace: seconds between SIGTERM and SIGKILL.
        """
        with self._changed:
            self._is_retired.set()
            self._changed.wait_for(lambda: not any(one.outstanding for one in self.instances()), drain)
        stoppers = [threading.Thread(target=instance.stop, args=(grace,)) for instance in self.instances()]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()

    def _draw(self) -> str:
        if len(self._variants) == 1:
            return self._variants[0].name
        weights = [variant.weight for variant in self._variants]
        return self._random.choices(self._variants, weights if any(weights) else None)[0].name


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
