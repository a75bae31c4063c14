"""OpenTelemetry: traces and metrics, sent when an endpoint is configured and costing next to nothing when not."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics, trace
from opentelemetry.propagate import extract

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc.aio

tracer = trace.get_tracer("milimo")
meter = metrics.get_meter("milimo")

# Streams that live for hours are no spans.
_UNTRACED: Final = frozenset({"Lease", "WatchJob", "WatchJobs", "WatchStatus", "FollowJob", "FollowJobs"})


def configure_telemetry(service: str, endpoint: str | None) -> None:
    """Exports traces and metrics of the process as `service` to an OTLP endpoint; does nothing without one."""
    if endpoint is None:
        return
    # The SDK and the exporter take a fifth of a second to import: only those who use them wait for that.
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    insecure = not endpoint.startswith("https:")
    resource = Resource.create({"service.name": f"milimo-{service}"})
    spans = TracerProvider(resource=resource)
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=insecure)))
    trace.set_tracer_provider(spans)
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=endpoint, insecure=insecure))
    metrics.set_meter_provider(MeterProvider(resource=resource, metric_readers=[reader]))


@contextlib.contextmanager
def call_span(method: str, context: grpc.aio.ServicerContext[Any, Any]) -> Iterator[None]:
    """The span of a call to `method`, such as "/milimo.v1.JobService/GetJob", in the caller's trace.

    OpenTelemetry's own interceptor turns each stream into a generator that nobody closes when the client goes away.
    """
    service, _, name = method.removeprefix("/").partition("/")
    if name in _UNTRACED:
        yield
        return
    carrier = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
    with tracer.start_as_current_span(
        f"{service}/{name}", context=extract(carrier), kind=trace.SpanKind.SERVER, attributes=attributes
    ):
        yield
