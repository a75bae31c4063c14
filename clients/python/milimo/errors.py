"""The one exception of the client: a code, a reason, and what is wrong with which field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2

DETAILS_KEY: Final = "grpc-status-details-bin"
_BY_NUMBER: Final = {code.value[0]: code for code in grpc.StatusCode}
# What a connection that broke looks like, when no service of Milimo said anything.
_TRANSPORT_CODES: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN})


@dataclass(frozen=True, kw_only=True)
class FieldViolation:
    """A field of the request, by its path in the contract ("video.width"), and what is wrong with it."""

    field: str
    description: str


class MilimoError(Exception):
    """A call that failed, or why a job failed.

    Attributes:
        code: the canonical status code.
        message: one line for people.
        reason: UPPER_SNAKE_CASE, such as MODEL_MISSING; "" when no service of Milimo answered.
        violations: the fields at fault; often empty.
        retry_after: seconds after which the server asks to try again, or None.
        metadata: further facts that belong to the reason.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        violations: tuple[FieldViolation, ...] = (),
        retry_after: float | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.violations = violations
        self.retry_after = retry_after
        self.metadata = metadata or {}

    def __repr__(self) -> str:
        return f"MilimoError({self.code.name}, {self.message!r}, reason={self.reason!r})"

    @property
    def is_transient(self) -> bool:
        """Whether the same call may work a moment later: the connection broke, or a process is starting again."""
        broken = not self.reason and self.code in _TRANSPORT_CODES
        return self.code is grpc.StatusCode.UNAVAILABLE or self.retry_after is not None or broken


def from_status(status: status_pb2.Status) -> MilimoError:
    """The error that a `google.rpc.Status` describes, such as a job's `error`."""
    reason, metadata = "", dict[str, str]()
    violations: list[FieldViolation] = []
    retry_after: float | None = None
    for detail in status.details:
        info, request, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(request):
            violations += [
                FieldViolation(field=violation.field, description=violation.description)
                for violation in request.field_violations
            ]
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    code = _BY_NUMBER.get(status.code, grpc.StatusCode.UNKNOWN)
    return MilimoError(
        code,
        status.message or code.name,
        reason=reason,
        violations=tuple(violations),
        retry_after=retry_after,
        metadata=metadata,
    )


def from_rpc_error(error: grpc.RpcError) -> MilimoError:
    """The error of a failed call, with the details that the server sent."""
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return MilimoError(grpc.StatusCode.UNKNOWN, str(error))
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            status = status_pb2.Status.FromString(value)
            if status.code != code_pb2.OK:
                return from_status(status)
    code = error.code() or grpc.StatusCode.UNKNOWN
    return MilimoError(code, error.details() or code.name)
