"""Between `MilimoError` and `google.rpc.Status`: the only module that knows both."""

from __future__ import annotations

from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from milimo_runtime.errors import FieldViolation, MilimoError

DOMAIN: Final = "milimo"

# A status travels in the trailing metadata, of which gRPC takes 8 KiB, and errors quote what the caller sent.
_MESSAGE_CHARACTERS: Final = 600
_FIELD_CHARACTERS: Final = 100
_VIOLATIONS: Final = 8


def pack(message: Message) -> any_pb2.Any:
    """The message as an Any."""
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def to_status(error: MilimoError) -> status_pb2.Status:
    """The status with its ErrorInfo, and BadRequest and RetryInfo where they apply."""
    metadata = {key: _cut(value, _FIELD_CHARACTERS) for key, value in error.metadata.items()}
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)]
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(
                field=_cut(violation.field, _FIELD_CHARACTERS),
                description=_cut(violation.description, _MESSAGE_CHARACTERS // 2),
            )
            for violation in error.violations[:_VIOLATIONS]
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration(nanos=0)
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return status_pb2.Status(
        code=code_pb2.Code.Value(error.status),
        message=_cut(error.message, _MESSAGE_CHARACTERS),
        details=[pack(detail) for detail in details],
    )


def _cut(text: str, characters: int) -> str:
    """The text, shortened in the middle to so many characters."""
    if len(text) <= characters:
        return text
    half = (characters - 3) // 2
    return f"{text[:half]} … {text[-half:]}"


def internal_status(error_id: str) -> status_pb2.Status:
    """What a user sees of an error that is ours: an id that finds it in the logs, and no more."""
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"error_id": error_id})
    return status_pb2.Status(
        code=code_pb2.INTERNAL,
        message=f"an error of the server; its log has the details under {error_id}",
        details=[pack(info)],
    )


class RemoteError(MilimoError):
    """An error that another process of the mesh answered with, passed on as it came."""

    def __init__(self, status: status_pb2.Status) -> None:
        info = error_details_pb2.ErrorInfo()
        request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        for detail in status.details:
            if not detail.Unpack(info) and not detail.Unpack(request):
                detail.Unpack(retry)
        super().__init__(
            status.message,
            reason=info.reason or "UNKNOWN",
            metadata=dict(info.metadata),
            violations=[
                FieldViolation(field=violation.field, description=violation.description)
                for violation in request.field_violations
            ],
            retry_after_s=retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None,
        )
        self.status = code_pb2.Code.Name(code_pb2.Code.ValueType(status.code))  # type: ignore[misc]


def from_rpc_error(error: grpc.aio.AioRpcError) -> MilimoError:
    """The error of a failed call to another process."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return RemoteError(status_pb2.Status.FromString(value))
    code = error.code()
    return RemoteError(status_pb2.Status(code=code.value[0], message=error.details() or code.name))
