"""Envoy's clusters: one for each process of the mesh, with health checks, outlier detection and keepalive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from milimo_gateway.settings import CLUSTERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from milimo_gateway.settings import Endpoint, GatewaySettings

Config = dict[str, Any]

# What a connection may buffer before its sender has to wait: bounds the memory of an upload.
BUFFER_BYTES: Final = 1024 * 1024
TELEMETRY: Final = "telemetry"


def socket_address(endpoint: Endpoint) -> Config:
    """An address as Envoy writes it."""
    host, port = endpoint
    return {"socket_address": {"address": host, "port_value": port}}


def http2_options(*, max_concurrent_streams: int | None = None) -> Config:
    """HTTP/2 with a ping every 30 s: a peer that stopped is noticed, and an idle connection stays open."""
    options: Config = {
        "connection_keepalive": {"interval": "30s", "timeout": "20s"},
        "initial_stream_window_size": BUFFER_BYTES,
        "initial_connection_window_size": 4 * BUFFER_BYTES,
    }
    if max_concurrent_streams is not None:
        options["max_concurrent_streams"] = max_concurrent_streams
    return options


def _load_assignment(name: str, endpoints: Iterable[Endpoint]) -> Config:
    found = [{"endpoint": {"address": socket_address(endpoint)}} for endpoint in endpoints]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": found}]}


def _http2_protocol() -> Config:
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": http2_options()},
        }
    }


def process_cluster(name: str, endpoints: Iterable[Endpoint], *, max_streams: int) -> Config:
    """The cluster of one process, or of several that serve the same."""
    return {
        "name": name,
        # Names are looked up again, so that a restarted container is found; an address costs nothing.
        "type": "STRICT_DNS",
        "connect_timeout": "2s",
        "lb_policy": "LEAST_REQUEST",
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "typed_extension_protocol_options": _http2_protocol(),
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 30}},
        "load_assignment": _load_assignment(name, endpoints),
        "health_checks": [
            {
                "timeout": "2s",
                "interval": "5s",
                "unhealthy_interval": "1s",
                "no_traffic_interval": "5s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": {},
            }
        ],
        # Only what says "this process is away" counts: an error that a service answers with is an answer. One process
        # alone is never ejected, however it behaves.
        "outlier_detection": {
            "consecutive_gateway_failure": 5,
            "enforcing_consecutive_gateway_failure": 100,
            "enforcing_consecutive_5xx": 0,
            "enforcing_success_rate": 0,
            "interval": "5s",
            "base_ejection_time": "10s",
            "max_ejection_percent": 50,
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": 1024,
                    "max_pending_requests": max_streams,
                    "max_requests": max_streams,
                    "max_retries": 64,
                }
            ]
        },
    }


def telemetry_cluster(endpoint: Endpoint, *, tls: bool) -> Config:
    """The OpenTelemetry collector."""
    cluster: Config = {
        "name": TELEMETRY,
        "type": "STRICT_DNS",
        "connect_timeout": "2s",
        "typed_extension_protocol_options": _http2_protocol(),
        "load_assignment": _load_assignment(TELEMETRY, [endpoint]),
    }
    if tls:
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": endpoint[0],
            },
        }
    return cluster


def process_clusters(settings: GatewaySettings) -> list[Config]:
    """The clusters of all processes behind the gateway."""
    return [
        process_cluster(name, settings.endpoints(name), max_streams=settings.gateway_max_streams) for name in CLUSTERS
    ]
