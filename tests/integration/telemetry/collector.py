"""An OpenTelemetry collector: a real gRPC server that keeps what it is sent."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

PATIENCE_S = 30.0
# Spans and metrics come soon after they are made.
PROMPTLY: Mapping[str, str] = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "100"}


def _values(attributes: Iterable[Any]) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@dataclass(frozen=True, kw_only=True)
class Span:
    """A span as it was sent, its ids as hexadecimal digits."""

    process: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    failed: bool
    attributes: Mapping[str, Any]
    events: tuple[tuple[str, Mapping[str, Any]], ...]

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A measurement of an instrument: the value; of a histogram its sum and count."""

    process: str
    name: str
    unit: str
    attributes: Mapping[str, Any]
    value: float
    count: int


@dataclass
class Collector:
    """What has come so far."""

    endpoint: str = ""
    spans: list[Span] = field(default_factory=list)
    # The latest of each instrument, process and attributes.
    points: dict[tuple[Any, ...], Point] = field(default_factory=dict)
    raw: list[bytes] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def named(self, name: str) -> list[Span]:
        """The spans of that name, in the order of their beginnings."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start)

    def measured(self, name: str, **attributes: str) -> list[Point]:
        """The latest measurements of an instrument with at least these attributes (with "_" for ".")."""
        wanted = {key.replace("_", "."): value for key, value in attributes.items()}
        return [
            point for point in self.points.values() if point.name == name and wanted.items() <= point.attributes.items()
        ]

    def until(self, holds: Callable[[], Any]) -> None:
        """Returns when what has come is as wished. Blocks."""
        with self.news:
            came = self.news.wait_for(lambda: bool(holds()), PATIENCE_S)
            spans = [(span.process, span.name) for span in self.spans]
            points = [(point.name, point.attributes, point.value) for point in self.points.values()]
            assert came, f"it never came; there are {spans} and {points}"

    def Export(self, request: Any, context: Any) -> Any:
        """Both services call their method so."""
        with self.news:
            self.raw.append(request.SerializeToString())
            if isinstance(request, trace_service_pb2.ExportTraceServiceRequest):
                self._take_spans(request)
                answer: Any = trace_service_pb2.ExportTraceServiceResponse()
            else:
                self._take_points(request)
                answer = metrics_service_pb2.ExportMetricsServiceResponse()
            self.news.notify_all()
        return answer

    def _take_spans(self, request: trace_service_pb2.ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            process = _values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [
                    Span(
                        process=process,
                        name=span.name,
                        trace_id=span.trace_id.hex(),
                        span_id=span.span_id.hex(),
                        parent_id=span.parent_span_id.hex(),
                        start=span.start_time_unix_nano,
                        end=span.end_time_unix_nano,
                        failed=span.status.code == span.status.STATUS_CODE_ERROR,
                        attributes=_values(span.attributes),
                        events=tuple((event.name, _values(event.attributes)) for event in span.events),
                    )
                    for span in scope.spans
                ]

    def _take_points(self, request: metrics_service_pb2.ExportMetricsServiceRequest) -> None:
        for resource in request.resource_metrics:
            process = _values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for data in getattr(metric, metric.WhichOneof("data")).data_points:
                        is_histogram = metric.HasField("histogram")
                        attributes = _values(data.attributes)
                        self.points[process, metric.name, *sorted(attributes.items())] = Point(
                            process=process,
                            name=metric.name,
                            unit=metric.unit,
                            attributes=attributes,
                            value=data.sum if is_histogram else data.as_int,
                            count=data.count if is_histogram else 1,
                        )


@contextlib.contextmanager
def running_collector() -> Iterator[Collector]:
    """A collector that answers until the block is left."""
    collector = Collector()
    with ThreadPoolExecutor(max_workers=2) as threads:
        server = grpc.server(threads)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(collector, server)
        collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield collector
        finally:
            server.stop(grace=None).wait()
