"""Envoy's configuration, made from settings and contract: pure, and the same for the same input."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from milimo_gateway.callers import callers_filter, origin_matcher, refusals
from milimo_gateway.clusters import (
    BUFFER_BYTES,
    TELEMETRY,
    http2_options,
    process_clusters,
    socket_address,
    telemetry_cluster,
)
from milimo_gateway.contract import PACKAGE
from milimo_gateway.http_filters import JSON_LIMIT, JSON_REQUEST_BYTES, TRANSCODER, UPLOAD_LIMIT, http_filters
from milimo_gateway.local_replies import NOT_GRPC, TOO_LARGE, TOO_LARGE_TEXT, local_reply_config
from milimo_gateway.routes import EDGE_PREFIXES, HEALTH_PREFIX, PROCESS_HEADER, Patience, public_services, routes
from milimo_gateway.settings import CLUSTERS, split_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from milimo_gateway.contract import Service
    from milimo_gateway.settings import GatewaySettings

Config = dict[str, Any]

LISTENER: Final = "public"
# Where a path goes that nothing serves: a 404. A direct response would do the same, but without the CORS headers, and
# every path of HTTP/JSON meets the CORS filter on this route, before it is transcoded.
NOWHERE: Final = "nothing"

# Envoy's threads say that they are alive twice in the shortest of these times: by default ten times a second each.
_WATCHDOG: Final = {"miss_timeout": "2s", "megamiss_timeout": "10s"}

_ACCESS_LOG: Final = {
    "time": "%START_TIME%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace_id": "%TRACE_ID%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "method": "%REQ(:METHOD)%",
    # Without its query: that is where a browser's key may be.
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "rpc": "%PATH(NQ:PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS%",
    "flags": "%RESPONSE_FLAGS%",
    "detail": "%RESPONSE_CODE_DETAILS%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "ms": "%DURATION%",
    "process": "%UPSTREAM_CLUSTER%",
    "user_agent": "%REQ(USER-AGENT)%",
}

_ALLOWED_HEADERS: Final = (
    "authorization",
    "content-type",
    "grpc-timeout",
    "last-event-id",
    PROCESS_HEADER,
    "range",
    "traceparent",
    "tracestate",
    "x-api-key",
    "x-grpc-web",
    "x-request-id",
    "x-user-agent",
)
_EXPOSED_HEADERS: Final = (
    "accept-ranges",
    "content-length",
    "content-range",
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
    "retry-after",
    "x-request-id",
)


def _seconds(value: float) -> str:
    return f"{value:g}s"


def _cors(origins: Iterable[str]) -> Config:
    return {
        "envoy.filters.http.cors": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
            "allow_origin_string_match": [origin_matcher(origin) for origin in origins],
            "allow_methods": "GET, POST, PATCH, DELETE, OPTIONS",
            "allow_headers": ", ".join(_ALLOWED_HEADERS),
            "expose_headers": ", ".join(_EXPOSED_HEADERS),
            "max_age": "3600",
            "forward_not_matching_preflights": False,
        }
    }


def _retry() -> Config:
    """Two more tries when the service was away: it said UNAVAILABLE, or nothing was sent to it."""
    return {
        "retry_on": "unavailable,connect-failure,refused-stream",
        "num_retries": 2,
        "retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"},
    }


def _forward(cluster: str, patience: Patience, settings: GatewaySettings) -> Config:
    """The action of a route."""
    if patience is Patience.STREAM:
        # Also for a route without: a stream may be silent for as long as a job waits.
        return {"cluster": cluster, "timeout": "0s", "idle_timeout": "0s"}
    if patience is Patience.UPLOAD:
        return {"cluster": cluster, "timeout": _seconds(settings.gateway_upload_seconds), "idle_timeout": "0s"}
    action: Config = {"cluster": cluster, "timeout": _seconds(settings.gateway_call_seconds)}
    if patience is Patience.READ:
        action["retry_policy"] = _retry()
    return action


def _nowhere() -> Config:
    return {"cluster": NOWHERE, "cluster_not_found_response_code": "NOT_FOUND", "timeout": "0s"}


def _without(*filters: str) -> Config:
    """Settings of a route that switch filters off."""
    off = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True, "config": {}}
    return {name: dict(off) for name in filters}


def _uploads(services: Sequence[Service]) -> list[Config]:
    """Routes of the paths that take files, on which they wait until they are transcoded: with a limit of their own."""
    return [
        {
            "name": f"{route.method.name}_over_http",
            "match": {
                "safe_regex": {"regex": re.sub(r"\{[^}]*\}", "[^/]+", rule.path)},
                "headers": [{"name": ":method", "string_match": {"exact": rule.verb}}],
            },
            "route": _nowhere(),
            "typed_per_filter_config": _without(JSON_LIMIT),
        }
        for route in routes(services)
        if route.patience is Patience.UPLOAD
        for rule in route.method.http
    ]


def _health(settings: GatewaySettings) -> list[Config]:
    """Routes of health checks that name a process; those that name none are left to the edge."""

    def match(value: Config) -> Config:
        return {"prefix": HEALTH_PREFIX, "headers": [{"name": PROCESS_HEADER, **value}]}

    return [
        *(
            {
                "name": f"health of {cluster}",
                "match": match({"string_match": {"exact": cluster}}),
                "route": _forward(cluster, Patience.STREAM, settings),
            }
            for cluster in CLUSTERS
        ),
        {"name": "health of nothing", "match": match({"present_match": True}), "route": _nowhere()},
    ]


def _routes(services: Sequence[Service], settings: GatewaySettings) -> list[Config]:
    """Routes in the order in which they are tried. JSON has become gRPC by then."""
    found: list[Config] = [
        {
            "name": "too_large",
            "match": {"prefix": "/", "headers": [TOO_LARGE]},
            "direct_response": {"status": 400, "body": {"inline_string": TOO_LARGE_TEXT}},
            # The transcoder would choose another route, by the RPC's path.
            "typed_per_filter_config": _without(TRANSCODER, JSON_LIMIT, UPLOAD_LIMIT),
        },
        {
            "name": "preflight",
            "match": {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "OPTIONS"}}]},
            "route": _nowhere(),
        },
        {
            # A gRPC server would reset the stream, and that looks as if it were away.
            "name": "grpc_only",
            "match": {"prefix": f"/{PACKAGE}.", "headers": [NOT_GRPC]},
            "direct_response": {"status": 415, "body": {"inline_string": "this path takes gRPC and gRPC-Web"}},
        },
        *_uploads(services),
    ]
    # One for each method: what has none, also of a public service, is not reached.
    found.extend(
        {
            "name": route.method.name,
            "match": {"path": route.method.path},
            "route": _forward(route.cluster, route.patience, settings),
            # What a stream sends adds up, and the service counts it.
            **(
                {"typed_per_filter_config": _without(JSON_LIMIT, UPLOAD_LIMIT)} if route.method.client_streaming else {}
            ),
        }
        for route in routes(services)
    )
    found.extend(_health(settings))
    found.extend(
        {"name": "edge", "match": {"prefix": prefix}, "route": _forward("edge", Patience.STREAM, settings)}
        for prefix in EDGE_PREFIXES
    )
    found.append(
        {
            "name": NOWHERE,
            "match": {"prefix": "/"},
            "route": _nowhere(),
            # The filter against unknown fields reads a body as a whole.
            "request_body_buffer_limit": JSON_REQUEST_BYTES,
        }
    )
    return found


def _tracing(endpoint: str) -> Config:
    return {
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                "service_name": "milimo-gateway",
                "grpc_service": {"envoy_grpc": {"cluster_name": TELEMETRY}, "timeout": "2s"},
            },
        },
        "spawn_upstream_span": False,
        # In the place of the whole address, whose query may hold a browser's key.
        "custom_tags": [{"tag": "http.url", "value": "%PATH(NQ:ORIG_OR_PATH)%"}],
    }


def _connection_manager(settings: GatewaySettings, services: Sequence[Service], image: Path) -> Config:
    manager: Config = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": LISTENER,
        "codec_type": "AUTO",
        "server_name": "milimo",
        "use_remote_address": True,
        "normalize_path": False,
        "merge_slashes": False,
        "generate_request_id": True,
        "always_set_request_id_in_response": True,
        "preserve_external_request_id": True,
        "stream_idle_timeout": "0s",
        "request_timeout": "0s",
        "request_headers_timeout": "10s",
        "drain_timeout": _seconds(settings.gateway_drain_seconds),
        "common_http_protocol_options": {"idle_timeout": "3600s", "headers_with_underscores_action": "REJECT_REQUEST"},
        "http2_protocol_options": http2_options(max_concurrent_streams=2048),
        "local_reply_config": local_reply_config(
            [route.method.path for route in routes(services) if route.patience is Patience.UPLOAD], refusals(settings)
        ),
        "access_log": [
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": str(settings.access_log),
                    "log_format": {"json_format": _ACCESS_LOG},
                },
            }
        ],
        "route_config": {
            "name": LISTENER,
            # NOWHERE does not exist, and must not.
            "validate_clusters": False,
            "virtual_hosts": [
                {
                    "name": LISTENER,
                    "domains": ["*"],
                    "routes": _routes(services, settings),
                    "typed_per_filter_config": _cors(settings.gateway_cors_origins),
                }
            ],
        },
        "http_filters": http_filters(
            image=image,
            services=[service.name for service in public_services(services)],
            callers=callers_filter(settings),
            media=settings.media_dir,
            requests_per_second=settings.gateway_requests_per_second,
        ),
    }
    if settings.otlp_endpoint is not None:
        manager["tracing"] = _tracing(settings.otlp_endpoint)
    return manager


def envoy_config(settings: GatewaySettings, services: Sequence[Service], image: Path) -> Config:
    """The whole bootstrap configuration.

    Args:
        settings: addresses, limits, folders.
        services: the contract.
        image: file of the descriptor image, which Envoy reads for itself.

    Raises:
        ValueError: when no process is named for a public service, or the OTLP endpoint is no URL.
    """
    clusters = process_clusters(settings)
    if settings.otlp_endpoint is not None:
        parts = urlsplit(settings.otlp_endpoint)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise ValueError(f"otlp_endpoint: {settings.otlp_endpoint!r} is no http URL")
        clusters.append(telemetry_cluster((parts.hostname, parts.port or 4317), tls=parts.scheme == "https"))
    return {
        "node": {"id": "milimo-gateway", "cluster": "milimo"},
        "admin": {"address": socket_address(split_address(settings.gateway_admin))},
        "watchdogs": {"main_thread_watchdog": _WATCHDOG, "worker_watchdog": _WATCHDOG},
        "static_resources": {
            "listeners": [
                {
                    "name": LISTENER,
                    "address": socket_address(split_address(settings.gateway_listen)),
                    "per_connection_buffer_limit_bytes": BUFFER_BYTES,
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "envoy.filters.network.http_connection_manager",
                                    "typed_config": _connection_manager(settings, services, image),
                                }
                            ]
                        }
                    ],
                }
            ],
            "clusters": clusters,
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3"
                        ".DownstreamConnectionsConfig",
                        "max_active_downstream_connections": settings.gateway_max_connections,
                    },
                }
            ]
        },
    }
