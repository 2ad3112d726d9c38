"""The metrics of functions: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html."""

from __future__ import annotations

from whippet.local.functions.pools import Usage
from whippet.local.functions.records import Target
from whippet.local.monitoring.metrics import Metrics

NAMESPACE = "AWS/Lambda"
COUNT, MILLISECONDS, NONE = "Count", "Milliseconds", "None"


class Metering:
    """Puts the metrics of functions.

    Args:
        metrics: takes them.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def started(self, target: Target, usage: Usage, is_spilled: bool, is_provisioned: bool) -> None:
        """An event has got its environment."""
        region, name = target.function.region, {"FunctionName": target.function.name}
        resource = {**name, "Resource": target.resource}
        self._put(region, "ConcurrentExecutions", usage.function, name, COUNT)
        self._put(region, "ConcurrentExecutions", usage.account, {}, COUNT)
        self._put(region, "UnreservedConcurrentExecutions", usage.unreserved, {}, COUNT)
        if is_spilled:
            self._count(target, "ProvisionedConcurrencySpilloverInvocations")
        if is_provisioned:
            self._count(target, "ProvisionedConcurrencyInvocations")
        if usage.allocated:
            for dimensions in (name, resource):
                self._put(region, "ProvisionedConcurrentExecutions", usage.provisioned, dimensions, COUNT)
                utilization = usage.provisioned / usage.allocated
                self._put(region, "ProvisionedConcurrencyUtilization", utilization, dimensions, NONE)

    def finished(self, target: Target, is_error: bool, duration_ms: float) -> None:
        """A function has run."""
        self._count(target, "Invocations")
        self._count(target, "Errors", float(is_error))
        for dimensions in _dimensions(target):
            self._put(target.function.region, "Duration", duration_ms, dimensions, MILLISECONDS)

    def throttled(self, target: Target) -> None:
        """An invocation was refused, since too many ran."""
        self._count(target, "Throttles")

    def received(self, target: Target) -> None:
        """An event was queued."""
        self._count(target, "AsyncEventsReceived")

    def waited(self, target: Target, age_ms: float) -> None:
        """An event has waited for so long when its function is about to run."""
        for dimensions in _dimensions(target):
            self._put(target.function.region, "AsyncEventAge", age_ms, dimensions, MILLISECONDS)

    def dropped(self, target: Target) -> None:
        """An event was given up."""
        self._count(target, "AsyncEventsDropped")

    def undelivered(self, target: Target, is_dead_letter: bool) -> None:
        """What became of an event could not be told to its destination."""
        self._count(target, "DeadLetterErrors" if is_dead_letter else "DestinationDeliveryFailures")

    def requested(self, target: Target, status: int, duration_ms: float) -> None:
        """A request to a URL was answered."""
        region = target.function.region
        self._count(target, "UrlRequestCount")
        self._count(target, "Url4xxCount", float(400 <= status < 500))
        self._count(target, "Url5xxCount", float(status >= 500))
        for dimensions in _dimensions(target):
            self._put(region, "UrlRequestLatency", duration_ms, dimensions, MILLISECONDS)

    def _count(self, target: Target, name: str, value: float = 1.0) -> None:
        for dimensions in _dimensions(target):
            self._put(target.function.region, name, value, dimensions, COUNT)

    def _put(self, region: str, name: str, value: float, dimensions: dict[str, str], unit: str) -> None:
        self._metrics.put(region, NAMESPACE, name, dimensions, value, unit)


def _dimensions(target: Target) -> list[dict[str, str]]:
    """What metrics of an invocation are kept by; those of an alias by the version that has run, too.

    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-view.html
    """
    name = {"FunctionName": target.function.name}
    resource = {**name, "Resource": target.resource}
    dimensions: list[dict[str, str]] = [{}, name, resource]
    if target.qualifier and target.qualifier != target.function.version:
        dimensions.append({**resource, "ExecutedVersion": target.function.version})
    return dimensions
