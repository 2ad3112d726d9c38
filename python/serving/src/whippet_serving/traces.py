from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class TracesError(Exception):
    """Traces were asked for and cannot be written; the text is one line that says what to do."""


@contextmanager
def traced(app: ASGIApp) -> Iterator[ASGIApp]:
    """Wrap an application so that each request is a span of OpenTelemetry, and a part of its caller's trace.

    Spans are sent to where the standard variables say, such as OTEL_EXPORTER_OTLP_ENDPOINT:
    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/

    Raises:
        TracesError: If the packages are not installed.
    """
    try:
        exporter = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        asgi = importlib.import_module("opentelemetry.instrumentation.asgi")
        resources = importlib.import_module("opentelemetry.sdk.resources")
        sdk = importlib.import_module("opentelemetry.sdk.trace")
        export = importlib.import_module("opentelemetry.sdk.trace.export")
    except ImportError as error:
        raise TracesError("traces need packages that are missing: pip install 'whippet-serving[traces]'") from error
    # what the environment names wins over the default
    resource = resources.Resource({"service.name": "whippet-serving"}).merge(resources.OTELResourceDetector().detect())
    provider = sdk.TracerProvider(resource=resource)
    provider.add_span_processor(export.BatchSpanProcessor(exporter.OTLPSpanExporter()))
    try:
        yield asgi.OpenTelemetryMiddleware(
            app, tracer_provider=provider, excluded_urls="/ping,/metrics", exclude_spans=["receive", "send"]
        )
    finally:
        provider.shutdown()  # sends what is left
