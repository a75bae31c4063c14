"""gRPC channels between the processes of a mesh: message limits, keepalive, one trace across them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc.aio

from milimo_runtime.call_trace import TracedCalls, TracedStreams
from milimo_runtime.limits import MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

# A stopped peer is noticed within six seconds; without ping_timeout_ms the HTTP/2 layer would wait a minute. Each ping
# wakes the idle threads of both sides a dozen times: once a second would cost an idle mesh a good part of its CPU.
CLIENT_OPTIONS: Final[Sequence[tuple[str, int]]] = (
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 1000),
    ("grpc.http2.ping_timeout_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

SERVER_OPTIONS: Final[Sequence[tuple[str, int]]] = (
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Below the clients' ping interval, or the server would hang up with "too_many_pings".
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    # Two processes on one port would share its calls: a second start must fail instead.
    ("grpc.so_reuseport", 0),
)


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel to another process of the mesh, which connects when it is first used and reconnects by itself."""
    return grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS, interceptors=[TracedCalls(), TracedStreams()])
