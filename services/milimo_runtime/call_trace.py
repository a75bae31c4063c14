"""Calls to other processes of the mesh carry the trace that they belong to.

OpenTelemetry's own interceptors would write the messages of errors into the spans, and those may quote users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from opentelemetry.propagate import inject

from milimo_runtime import telemetry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def _in_this_trace(details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
    """The call with the current place in a trace among its metadata."""
    carrier: dict[str, str] = {}
    inject(carrier)
    metadata = grpc.aio.Metadata(*(details.metadata or ()), *carrier.items())
    return grpc.aio.ClientCallDetails(
        details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
    )


class TracedCalls(grpc.aio.UnaryUnaryClientInterceptor):
    """Calls with one answer: each is a span."""

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[Any]],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Makes the call, and ends the span with its status."""
        method: str | bytes = client_call_details.method
        with telemetry.outgoing_span(method.decode() if isinstance(method, bytes) else method) as span:
            call = await continuation(_in_this_trace(client_call_details), request)
            try:
                telemetry.tell_code(span, (await call.code()).name, as_client=True)
            finally:
                # The caller has gone away.
                if not call.done():
                    call.cancel()
            return call


class TracedStreams(grpc.aio.UnaryStreamClientInterceptor):
    """Calls with a stream of answers, which may last for hours: they are no spans of their own."""

    async def intercept_unary_stream(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[Any]],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Makes the call."""
        return await continuation(_in_this_trace(client_call_details), request)
