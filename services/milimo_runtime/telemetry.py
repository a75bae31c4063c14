"""OpenTelemetry: traces and metrics, sent when an endpoint is configured and costing next to nothing when not.

Without an endpoint a caller's trace still passes through, so that logs name it. Nothing that users write, such as
prompts and the messages that may quote them, becomes part of a span.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import grpc
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.propagate import extract
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc.aio

tracer = trace.get_tracer("milimo")
meter = metrics.get_meter("milimo")

# Streams that live for hours are no spans.
_UNTRACED: Final = frozenset({"Lease", "WatchJob", "WatchJobs", "WatchStatus", "FollowJob", "FollowJobs"})
# Codes with which a server has failed; the others tell the caller what is wrong with the call.
_FAILURES: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
_CLOSE_SECONDS: Final = 2.0
_W3C: Final = TraceContextTextMapPropagator()
_TRACEPARENT: Final = "traceparent"


def configure_telemetry(service: str, endpoint: str | None) -> Callable[[], None]:
    """Exports traces and metrics of the process as `service` to an OTLP endpoint; does nothing without one.

    Returns:
        Sends what has not been sent, to be called at the end of the process: for two seconds at most, since the SDK by
        itself would wait a quarter of a minute for a collector that is away.
    """
    if endpoint is None:
        return lambda: None
    # The SDK and the exporter take a fifth of a second to import: only those who use them wait for that.
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    insecure = not endpoint.startswith("https:")
    resource = Resource.create({"service.name": f"milimo-{service}", "service.instance.id": str(uuid.uuid4())})
    spans = TracerProvider(resource=resource, shutdown_on_exit=False)
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=insecure)))
    trace.set_tracer_provider(spans)
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=endpoint, insecure=insecure))
    meters = MeterProvider(resource=resource, metric_readers=[reader], shutdown_on_exit=False)
    metrics.set_meter_provider(meters)

    def close() -> None:
        closing = [threading.Thread(target=provider.shutdown, daemon=True) for provider in (spans, meters)]
        for thread in closing:
            thread.start()
        until = time.monotonic() + _CLOSE_SECONDS
        for thread in closing:
            thread.join(max(0.0, until - time.monotonic()))

    return close


def current_traceparent() -> str | None:
    """The place in a trace where this code runs, as W3C's header; None outside of any trace."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get(_TRACEPARENT)


def context_of(traceparent: str) -> Context:
    """The context of what is done on behalf of that place in a trace; "" and what is no such header: of no trace."""
    return _W3C.extract({_TRACEPARENT: traceparent}, context=Context())


@contextlib.contextmanager
def call_span(method: str, context: grpc.aio.ServicerContext[Any, Any]) -> Iterator[trace.Span]:
    """The span of an answered call to `method`, such as "/milimo.v1.JobService/GetJob", in the caller's trace.

    OpenTelemetry's own interceptor turns each stream into a generator that nobody closes when the client goes away.
    """
    service, _, name = method.removeprefix("/").partition("/")
    if name in _UNTRACED:
        yield trace.INVALID_SPAN
        return
    carrier = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    with tracer.start_as_current_span(
        f"{service}/{name}",
        context=extract(carrier),
        kind=trace.SpanKind.SERVER,
        attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


@contextlib.contextmanager
def outgoing_span(method: str) -> Iterator[trace.Span]:
    """The span of a call to another process."""
    service, _, name = method.removeprefix("/").partition("/")
    with tracer.start_as_current_span(
        f"{service}/{name}",
        kind=trace.SpanKind.CLIENT,
        attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


def tell_code(span: trace.Span, code: str, *, as_client: bool = False) -> None:
    """How a call ended, such as "NOT_FOUND"; what is no code of gRPC is left out.

    The caller's span has failed with any code but OK, the server's only where the server is to blame.
    """
    if span.is_recording() and code in grpc.StatusCode.__members__:
        span.set_attribute("rpc.grpc.status_code", grpc.StatusCode[code].value[0])
        if code in _FAILURES or (as_client and code != "OK"):
            fail(span, code)


def fail(span: trace.Span, error_type: str) -> None:
    """Marks what a span stands for as failed; `error_type` names the kind of error, of which there are few."""
    span.set_attribute("error.type", error_type)
    span.set_status(trace.StatusCode.ERROR)
