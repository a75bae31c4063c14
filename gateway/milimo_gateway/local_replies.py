"""Envoy's own answers (no route, no service, too large, too many) as the JSON of `google.rpc.Status`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from google.rpc import code_pb2
from milimo_runtime.limits import UPLOAD_BYTES
from milimo_runtime.statuses import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from milimo_gateway.callers import Refusal

Config = dict[str, Any]

# Content-Length values that are refused before the body is read.
TOO_LARGE: Final[Config] = {
    "name": "content-length",
    "range_match": {"start": UPLOAD_BYTES + 1, "end": 2**63 - 1},
}
# What the filter against unknown fields leaves behind.
UNKNOWN_FIELD: Final[Config] = {"filter": "milimo", "path": [{"key": "unknown_field"}]}
TOO_LARGE_TEXT: Final = f"content: the body is larger than {UPLOAD_BYTES} bytes"

# Everything but gRPC and gRPC-Web.
NOT_GRPC: Final[Config] = {
    "name": "content-type",
    "string_match": {"prefix": "application/grpc"},
    "invert_match": True,
    "treat_missing_header_as_empty": True,
}


@dataclass(frozen=True, kw_only=True)
class Reply:
    """How an HTTP status of Envoy's own reads as a Status."""

    http: int
    code: int
    reason: str
    # Envoy's own text where it says what is wrong with the request; a constant where it would speak of its insides.
    message: str = "%LOCAL_REPLY_BODY%"
    retry: bool = False


REPLIES: Final = (
    Reply(http=400, code=code_pb2.INVALID_ARGUMENT, reason="INVALID_REQUEST"),
    Reply(http=401, code=code_pb2.UNAUTHENTICATED, reason="UNAUTHENTICATED"),
    Reply(http=403, code=code_pb2.PERMISSION_DENIED, reason="PERMISSION_DENIED"),
    Reply(http=404, code=code_pb2.NOT_FOUND, reason="NOTHING_HERE", message="nothing is served at this path"),
    Reply(
        http=405, code=code_pb2.UNIMPLEMENTED, reason="NO_SUCH_METHOD", message="this path does not take this method"
    ),
    Reply(http=408, code=code_pb2.DEADLINE_EXCEEDED, reason="REQUEST_TIMEOUT", message="the request came too slowly"),
    Reply(http=413, code=code_pb2.INVALID_ARGUMENT, reason="BODY_TOO_LARGE", message="the body is too large"),
    Reply(http=415, code=code_pb2.INVALID_ARGUMENT, reason="UNSUPPORTED_MEDIA_TYPE"),
    Reply(http=416, code=code_pb2.OUT_OF_RANGE, reason="RANGE_NOT_SATISFIABLE", message="the file has no such range"),
    Reply(http=426, code=code_pb2.INVALID_ARGUMENT, reason="INVALID_REQUEST"),
    Reply(
        http=429,
        code=code_pb2.RESOURCE_EXHAUSTED,
        reason="RATE_LIMITED",
        message="too many requests; try again in a moment",
        retry=True,
    ),
    Reply(http=431, code=code_pb2.INVALID_ARGUMENT, reason="HEADERS_TOO_LARGE", message="the headers are too large"),
    Reply(http=500, code=code_pb2.INTERNAL, reason="INTERNAL", message="an error of the gateway"),
    Reply(http=501, code=code_pb2.UNIMPLEMENTED, reason="NOT_IMPLEMENTED"),
    Reply(
        http=502,
        code=code_pb2.UNAVAILABLE,
        reason="UNAVAILABLE",
        message="the service broke off; it may be starting again",
        retry=True,
    ),
    Reply(
        http=503,
        code=code_pb2.UNAVAILABLE,
        reason="UNAVAILABLE",
        message="the service does not answer; it may be starting",
        retry=True,
    ),
    Reply(
        http=504,
        code=code_pb2.DEADLINE_EXCEEDED,
        reason="DEADLINE_EXCEEDED",
        message="the service did not answer in time",
    ),
)

# Native gRPC and gRPC-Web take a status from headers, where Envoy would put the JSON as the message. A transcoded
# request looks like gRPC by now, but keeps its path of before.
_ANSWERED_WITH_JSON: Final[Config] = {
    "or_filter": {
        "filters": [
            {"header_filter": {"header": NOT_GRPC}},
            {"header_filter": {"header": {"name": "x-envoy-original-path", "present_match": True}}},
        ]
    }
}


def _detail(name: str, **fields: object) -> Config:
    return {"@type": f"type.googleapis.com/google.rpc.{name}", **fields}


def _mapper(condition: Config, *, code: int, message: str, details: list[Config]) -> Config:
    return {
        "filter": {"and_filter": {"filters": [condition, _ANSWERED_WITH_JSON]}},
        "body_format_override": {"json_format": {"code": code, "message": message, "details": details}},
    }


def _status_is(http: int) -> Config:
    value = {"default_value": http, "runtime_key": f"milimo.local_reply_{http}"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _upload_too_large(condition: Config) -> Config:
    violation = {"field": "content", "description": f"at most {UPLOAD_BYTES} bytes"}
    mapper = _mapper(
        condition,
        code=code_pb2.INVALID_ARGUMENT,
        message=TOO_LARGE_TEXT,
        details=[
            _detail("ErrorInfo", reason="UPLOAD_TOO_LARGE", domain=DOMAIN),
            _detail("BadRequest", field_violations=[violation]),
        ],
    )
    return {**mapper, "status_code": 400}


def _refused(refusal: Refusal) -> list[Config]:
    """The mappers of a refusal: for JSON, and for gRPC, which takes the text as its message."""
    refused: Config = {"and_filter": {"filters": [_status_is(403), {"header_filter": {"header": refusal.matcher}}]}}
    info = _detail("ErrorInfo", reason=refusal.reason, domain=DOMAIN)
    text = {"text_format_source": {"inline_string": refusal.message}}
    return [
        _mapper(refused, code=code_pb2.PERMISSION_DENIED, message=refusal.message, details=[info]),
        {"filter": refused, "body_format_override": text},
    ]


def local_reply_config(upload_paths: Iterable[str], refusals: Iterable[Refusal] = ()) -> Config:
    """The `local_reply_config` of the HTTP connection manager.

    `upload_paths` are the RPCs that take files, `refusals` the callers that are refused.
    """
    announced = [_status_is(400), {"header_filter": {"header": TOO_LARGE}}]
    mappers = [mapper for refusal in refusals for mapper in _refused(refusal)]
    mappers.append(_upload_too_large({"and_filter": {"filters": announced}}))
    for path in upload_paths:
        sent = [_status_is(413), {"header_filter": {"header": {"name": ":path", "string_match": {"prefix": path}}}}]
        mappers.append(_upload_too_large({"and_filter": {"filters": sent}}))
    mappers.append(
        _mapper(
            {
                "metadata_filter": {
                    "matcher": {**UNKNOWN_FIELD, "value": {"present_match": True}},
                    "match_if_key_not_found": False,
                }
            },
            code=code_pb2.INVALID_ARGUMENT,
            message="%LOCAL_REPLY_BODY%",
            details=[
                _detail("ErrorInfo", reason="UNKNOWN_FIELD", domain=DOMAIN),
                _detail(
                    "BadRequest",
                    field_violations=[
                        {"field": "%DYNAMIC_METADATA(milimo:unknown_field)%", "description": "there is no such field"}
                    ],
                ),
            ],
        )
    )
    for reply in REPLIES:
        info = _detail("ErrorInfo", reason=reply.reason, domain=DOMAIN, metadata={"gateway": "%RESPONSE_CODE_DETAILS%"})
        details = [info, *([_detail("RetryInfo", retry_delay="1s")] if reply.retry else [])]
        mappers.append(_mapper(_status_is(reply.http), code=reply.code, message=reply.message, details=details))
    return {"mappers": mappers}
