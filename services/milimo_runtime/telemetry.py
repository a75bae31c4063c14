"""OpenTelemetry: traces and metrics, sent when an endpoint is configured and costing next to nothing when not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import metrics, trace
from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters

if TYPE_CHECKING:
    import grpc.aio

tracer = trace.get_tracer("milimo")
meter = metrics.get_meter("milimo")

# Streams that live for hours are no spans, and health checks would drown everything else.
_UNTRACED = ("Lease", "WatchJob", "WatchJobs", "WatchStatus", "FollowJob", "FollowJobs", "Check", "Watch")


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


def server_interceptor() -> grpc.aio.ServerInterceptor:
    """Continues the caller's trace in the server."""
    untraced = filters.any_of(*(filters.method_name(name) for name in _UNTRACED))
    interceptor: grpc.aio.ServerInterceptor = aio_server_interceptor(filter_=filters.negate(untraced))
    return interceptor
