"""Counts what the server does, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from whippet_serving.archive import Archive
from whippet_serving.classifier import Answer

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """The server's figures, named as https://prometheus.io/docs/practices/naming/ says.

    Args:
        archive: The model that is served.
        engine: What serves it.
        in_flight: Tells how many requests are being worked on.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, archive: Archive, engine: str, in_flight: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "whippet_requests",
            "Requests to /invocations by the status of their answer.",
            ["status"],
            registry=self._registry,
        )
        self._photos = Counter(
            "whippet_photos",
            "Photos by the status of their answer; a request may hold many.",
            ["status"],
            registry=self._registry,
        )
        self._request_seconds = self._histogram("request", "From a request's head to its answer, if it was let in.")
        self._decode_seconds = self._histogram("decode", "From a photo's file to pixels.")
        self._inference_seconds = self._histogram("inference", "From pixels to scores.")
        Gauge("whippet_in_flight", "Requests being worked on.", registry=self._registry).set_function(in_flight)
        model = Gauge("whippet_model", "The model.", ["id", "name", "backbone", "engine"], registry=self._registry)
        model.labels(archive.id, archive.name, archive.backbone, engine).set(1)

    def _histogram(self, name: str, help_: str) -> Histogram:
        return Histogram(f"whippet_{name}_seconds", help_, buckets=_SECONDS, registry=self._registry)

    def request(self, status: int, seconds: float | None) -> None:
        """Count a request, and how long it took if it was let in."""
        self._requests.labels(status).inc()
        if seconds is not None:
            self._request_seconds.observe(seconds)

    def photo(self, status: int, answer: Answer | None) -> None:
        """Count a photo, and what it took if it was classified."""
        self._photos.labels(status).inc()
        if answer:
            self._decode_seconds.observe(answer.decoding_s)
            self._inference_seconds.observe(answer.inferring_s)

    def exposition(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self._registry)
