"""What CloudWatch learns of endpoints.

https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import psutil

from whippet.local.clock import Clock
from whippet.local.endpoints.endpoint import Endpoint
from whippet.local.endpoints.fleet import Route
from whippet.local.monitoring.metrics import Metrics

log = logging.getLogger(__name__)

INVOCATIONS, UTILIZATION = "AWS/SageMaker", "/aws/sagemaker/Endpoints"
#: Seconds of the clock between two values of the high-resolution metric, and of the other ones that come with time:
#: https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling-policy.html
CONCURRENCY_PERIOD, UTILIZATION_PERIOD = 10, 60
#: Seconds of the wall between two looks at the clock.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.5


def note_invocation(
    metrics: Metrics, endpoint: Endpoint, route: Route, *, status: int | None, model: float, total: float
) -> None:
    """Notes one invocation.

    The metrics of one configuration of an endpoint let an alarm watch the new fleet only:
    https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html

    Args:
        metrics: take it.
        endpoint: what was invoked.
        route: the instance.
        status: what the container answered; None for no answer.
        model: seconds that the container took.
        total: seconds that the invocation took.
    """
    # AWS tells of 5XX only that the model returned it; that no answer counts as one is assumed.
    values = (
        ("Invocations", 1.0, "None"),
        ("InvocationsPerInstance", 1.0 / route.peers, "None"),
        ("Invocation4XXErrors", float(status is not None and 400 <= status < 500), "None"),
        ("Invocation5XXErrors", float(status is None or status >= 500), "None"),
        ("InvocationModelErrors", float(status is None or not 200 <= status < 300), "None"),
        ("ModelLatency", model * 1e6, "Microseconds"),
        ("OverheadLatency", max(0.0, total - model) * 1e6, "Microseconds"),
    )
    variant = {"EndpointName": endpoint.name, "VariantName": route.group.variant.name}
    for dimensions in (variant, {**variant, "EndpointConfigName": route.fleet.configuration.name}):
        for name, value, unit in values:
            metrics.put(endpoint.region, INVOCATIONS, name, dimensions, value, unit)


class Metering:
    """Puts the metrics that come with time, not with invocations.

    Args:
        clock: what the periods follow.
        metrics: take them.
        endpoints: gives all endpoints.
        folder: on the disk whose use is told.
    """

    def __init__(
        self, clock: Clock, metrics: Metrics, endpoints: Callable[[], Iterable[Endpoint]], folder: Path
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._endpoints = endpoints
        self._folder = folder
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._processor_seconds: dict[int, tuple[float, float]] = {}

    def start(self) -> None:
        """Puts metrics from now on."""
        self._stopped = threading.Event()
        arguments = (self._stopped, *self._periods())
        self._thread = threading.Thread(target=self._run, args=arguments, name="metering", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Puts no more."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        self._thread = None
        self._processor_seconds.clear()

    def _run(self, stopped: threading.Event, period: int, minute: int) -> None:
        while not stopped.wait(self._pause()):
            before, (period, minute) = (period, minute), self._periods()
            # More than one is over where the machine is too busy for a fast clock. None is left without a value, since
            # alarms would take that for silence.
            periods, minutes = range(before[0] + 1, period + 1), range(before[1] + 1, minute + 1)
            try:
                if periods:
                    self._put_concurrency([one * CONCURRENCY_PERIOD for one in periods])
                for one in minutes:
                    self._put_idleness(one * UTILIZATION_PERIOD)
                if minutes:
                    self._put_utilization()
            except Exception:
                log.exception("metrics of endpoints could not be put")

    def _periods(self) -> tuple[int, int]:
        now = int(self._clock.time())
        return now // CONCURRENCY_PERIOD, now // UTILIZATION_PERIOD

    def _pause(self) -> float:
        """Seconds of the wall until the next period begins, within limits."""
        left = CONCURRENCY_PERIOD - self._clock.time() % CONCURRENCY_PERIOD
        return min(LONGEST_PAUSE, max(SHORTEST_PAUSE, left / self._clock.speed))

    def _put_concurrency(self, ends: Sequence[int]) -> None:
        """The invocations that each instance had at a time, on the average of the periods that have just ended."""
        for endpoint in self._endpoints():
            for group, mean in endpoint.traffic.mean_loads():
                dimensions = {"EndpointName": endpoint.name, "VariantName": group.variant.name}
                where = (endpoint.region, INVOCATIONS, "ConcurrentRequestsPerModel", dimensions)
                for end in ends:  # in the period that has gone by, not in the one that follows
                    self._metrics.put(*where, mean, "None", at=end - 1, resolution=1)

    def _put_idleness(self, now: float) -> None:
        """Says of each variant that nobody has invoked in the minute before `now` just that, so that it can scale in.

        https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling-edit.html#endpoint-auto-scaling-edit-scale-in
        """
        since = now - UTILIZATION_PERIOD
        for endpoint in self._endpoints():
            for name in {name for fleet in endpoint.fleets for name in list(fleet.groups)}:
                variant = {"EndpointName": endpoint.name, "VariantName": name}
                where = (endpoint.region, INVOCATIONS, "Invocations", variant)
                if not self._metrics.query(*where, since, now, UTILIZATION_PERIOD):
                    for metric in ("Invocations", "InvocationsPerInstance"):
                        self._metrics.put(endpoint.region, INVOCATIONS, metric, variant, 0.0, "None", at=now - 1)

    def _put_utilization(self) -> None:
        instances = [
            (endpoint, group.variant.name, instance.pid)
            for endpoint in self._endpoints()
            for fleet in endpoint.fleets
            for group in list(fleet.groups.values())
            for instance in list(group.instances)
            if instance.was_healthy
        ]
        if not instances:
            return
        processes = _processes_by_group({pid for _, _, pid in instances})
        now, known = time.perf_counter(), self._processor_seconds
        self._processor_seconds = {}
        disk = psutil.disk_usage(str(self._folder)).percent
        for endpoint, variant, pid in instances:
            seconds, memory = _used(processes.get(pid, []))
            then, before = known.get(pid, (now, seconds))
            self._processor_seconds[pid] = (now, seconds)
            values = {"MemoryUtilization": memory, "DiskUtilization": disk}
            if now > then:
                # Of all cores together, so that two busy ones are 200 %.
                values["CPUUtilization"] = max(0.0, seconds - before) / (now - then) * 100
            dimensions = {"EndpointName": endpoint.name, "VariantName": variant}
            for name, value in values.items():
                self._metrics.put(endpoint.region, UTILIZATION, name, dimensions, value, "Percent")


def _processes_by_group(groups: set[int]) -> dict[int, list[psutil.Process]]:
    """The processes of these process groups: each container has one of its own."""
    found: dict[int, list[psutil.Process]] = {}
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if (group := os.getpgid(pid)) in groups:
                found.setdefault(group, []).append(psutil.Process(pid))
    return found


def _used(processes: Iterable[psutil.Process]) -> tuple[float, float]:
    """Seconds of the processor and percent of the memory that processes have used."""
    seconds, memory = 0.0, 0.0
    for process in processes:
        for used in _of(process):
            seconds += used[0]
            memory += used[1]
    return seconds, memory


def _of(process: psutil.Process) -> Iterator[tuple[float, float]]:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        yield times.user + times.system, process.memory_percent()
