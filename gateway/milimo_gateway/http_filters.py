"""The chain of HTTP filters, in the order in which a request meets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from milimo_runtime.limits import MESSAGE_BYTES, UPLOAD_BYTES

from milimo_gateway.unknown_fields import lua_source

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Config = dict[str, Any]

_FILTERS: Final = "type.googleapis.com/envoy.extensions.filters.http"

# A message of 4 MiB as JSON: bytes grow by a third as base64, and the names of fields come on top.
JSON_REQUEST_BYTES: Final = 2 * MESSAGE_BYTES
# Answers have numbers and names where messages have a few bytes.
JSON_RESPONSE_BYTES: Final = 8 * MESSAGE_BYTES
# EventSource cannot set a header, so a key may come as this parameter. Nothing behind the first filter sees it: no log,
# no trace, no service.
KEY_PARAMETER: Final = "key"
JSON_LIMIT: Final = "milimo.json_limit"
UPLOAD_LIMIT: Final = "milimo.upload_limit"
TRANSCODER: Final = "envoy.filters.http.grpc_json_transcoder"
MEDIA_PREFIX: Final = "/media/projects/"

CONTENT_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "json": "application/json",
}


def _filter(name: str, message: str, **fields: object) -> Config:
    typed = {"@type": f"{_FILTERS}.{message}", **fields}
    return {"name": f"envoy.filters.http.{name}", "typed_config": typed}


def transcoder(image: Path, services: Iterable[str]) -> Config:
    """HTTP/JSON to gRPC, by the HTTP rules of the contract; a stream of messages becomes text/event-stream."""
    return _filter(
        "grpc_json_transcoder",
        "grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor=str(image),
        services=list(services),
        print_options={
            "preserve_proto_field_names": True,
            "always_print_primitive_fields": True,
            "stream_newline_delimited": True,
            "stream_sse_style_delimited": True,
        },
        convert_grpc_status=True,
        url_unescape_spec="ALL_CHARACTERS",
        query_param_unescape_plus=True,
        request_validation_options={
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
        max_request_body_size=JSON_REQUEST_BYTES,
        max_response_body_size=JSON_RESPONSE_BYTES,
    )


def body_limit(name: str, max_bytes: int) -> Config:
    """Refuses larger bodies with 413, by their Content-Length or as they come; routes may switch it off by its name."""
    return {**_filter("body_size_limit", "body_size_limit.v3.BodySizeLimit", max_request_bytes=max_bytes), "name": name}


def unknown_fields(image: Path) -> Config:
    """Refuses JSON bodies with fields that the contract does not have, and bodies that are not sent as JSON."""
    return _filter("lua", "lua.v3.Lua", default_source_code={"inline_string": lua_source(image)})


def media_files(folder: Path) -> Config:
    """The files of the projects, with byte ranges; the rest of the media folder is not served."""
    return _filter(
        "file_server",
        "file_server.v3.FileServerConfig",
        manager_config={"thread_pool": {"thread_count": 2}},
        path_mappings=[{"request_path_prefix": MEDIA_PREFIX, "file_path_prefix": f"{folder}/projects/"}],
        content_types=CONTENT_TYPES,
        default_content_type="application/octet-stream",
    )


def rate_limit(requests_per_second: int) -> Config:
    """Bounds what all clients together may ask for; twice the rate in a burst."""
    everything = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return _filter(
        "local_ratelimit",
        "local_ratelimit.v3.LocalRateLimit",
        stat_prefix="requests",
        token_bucket={
            "max_tokens": 2 * requests_per_second,
            "tokens_per_fill": max(1, requests_per_second // 10),
            "fill_interval": "0.1s",
        },
        filter_enabled=everything,
        filter_enforced=everything,
        rate_limited_as_resource_exhausted=True,
    )


def http_filters(
    *, image: Path, services: Iterable[str], callers: Config, media: Path | None, requests_per_second: int
) -> list[Config]:
    """All filters. `services` are the full names of those that take JSON; without `media` no files are served.

    `callers` is the filter that refuses pages of the web.
    """
    hide_key = {"query_parameter_mutations": [{"remove": KEY_PARAMETER}]}
    health = [{"name": ":path", "string_match": {"exact": "/healthz"}}]
    return [
        _filter("header_mutation", "header_mutation.v3.HeaderMutation", mutations=hide_key),
        # Before all that may answer by itself, so that gRPC-Web is answered in its own form.
        _filter("grpc_web", "grpc_web.v3.GrpcWeb"),
        callers,
        _filter("health_check", "health_check.v3.HealthCheck", pass_through_mode=False, headers=health),
        _filter("cors", "cors.v3.Cors"),
        rate_limit(requests_per_second),
        # The transcoder holds a JSON body in memory, however large.
        body_limit(JSON_LIMIT, JSON_REQUEST_BYTES),
        body_limit(UPLOAD_LIMIT, UPLOAD_BYTES),
        unknown_fields(image),
        transcoder(image, services),
        *([media_files(media)] if media is not None else []),
        _filter("router", "router.v3.Router", suppress_envoy_headers=True),
    ]
