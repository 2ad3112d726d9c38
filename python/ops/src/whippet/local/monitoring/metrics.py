"""The metrics of CloudWatch: what is put in, and what statistics say of it.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from threading import Lock

from whippet.local.clock import Clock

#: Region, namespace, name, dimensions.
Series = tuple[str, str, str, frozenset[tuple[str, str]]]


class Metrics:
    """All metrics of local AWS.

    Args:
        clock: gives the time of a value that comes without one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._values: dict[Series, list[tuple[float, float]]] = defaultdict(list)
        self._lock = Lock()

    def put(
        self,
        region: str,
        namespace: str,
        name: str,
        dimensions: Mapping[str, str],
        value: float,
        unit: str = "None",
        at: float | None = None,
        resolution: int = 60,
    ) -> None:
        """Takes one value of a metric.

        Args:
            region: where it is.
            namespace: as in AWS/SageMaker.
            name: as in Invocations.
            dimensions: names and values.
            value: of one observation.
            unit: one of CloudWatch's.
            at: when, in seconds since 1970; now unless given.
            resolution: seconds; 1 for a high-resolution metric, 60 for another.
        """
        series = (region, namespace, name, frozenset(dimensions.items()))
        with self._lock:
            self._values[series].append((self._clock.time() if at is None else at, value))
