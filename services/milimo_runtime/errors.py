"""Errors that a user may see: one class per status, one meaning per reason.

Code raises these from anywhere; one interceptor turns them into `google.rpc.Status` with one `ErrorInfo` (reason,
domain "milimo") and, where a field is at fault, one `BadRequest` field violation each. The module knows no gRPC.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class FieldViolation:
    """A field of the request, by its proto path ("shots[2].width"), and what is wrong with it."""

    field: str
    description: str


class MilimoError(Exception):
    """Base of all errors that are the caller's business. `status` is the name of a canonical status code."""

    status: ClassVar[str] = "UNKNOWN"
    default_reason: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        violations: Sequence[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s


class InvalidArgument(MilimoError):
    """A field of the request is wrong, whatever the state of the system."""

    status = "INVALID_ARGUMENT"
    default_reason = "INVALID_FIELD"

    def __init__(self, field: str, description: str, *, reason: str | None = None) -> None:
        super().__init__(
            f"{field}: {description}",
            reason=reason,
            violations=(FieldViolation(field=field, description=description),),
        )


class OutOfRange(InvalidArgument):
    """A field of the request points behind the end of what is there."""

    status = "OUT_OF_RANGE"
    default_reason = "OUT_OF_RANGE"


class NotFound(MilimoError):
    """The thing that the request names does not exist."""

    status = "NOT_FOUND"
    default_reason = "NOT_FOUND"

    def __init__(self, kind: str, id_: str, *, field: str | None = None) -> None:
        description = f"there is no {kind} with the id {id_!r}"
        name = field or f"{kind}_id"
        super().__init__(
            f"{name}: {description}",
            violations=(FieldViolation(field=name, description=description),),
            metadata={"kind": kind, "id": id_},
        )


class AlreadyExists(MilimoError):
    """The request's id was used before, with another content."""

    status = "ALREADY_EXISTS"
    default_reason = "REQUEST_ID_REUSED"


class FailedPrecondition(MilimoError):
    """The system is not in a state in which this can be done, and repeating the call will not change that."""

    status = "FAILED_PRECONDITION"
    default_reason = "FAILED_PRECONDITION"


class ModelMissing(FailedPrecondition):
    """A file of a model is missing or damaged. The message says which one and how to get it."""

    default_reason = "MODEL_MISSING"


class ResourceExhausted(MilimoError):
    """A limit of the machine or of the configuration is reached; later it may work."""

    status = "RESOURCE_EXHAUSTED"
    default_reason = "RESOURCE_EXHAUSTED"


class Unavailable(MilimoError):
    """Another process does not answer right now; the call may be repeated."""

    status = "UNAVAILABLE"
    default_reason = "UNAVAILABLE"


class DeadlineExceeded(MilimoError):
    """The server's own time limit for the call has passed."""

    status = "DEADLINE_EXCEEDED"
    default_reason = "DEADLINE_EXCEEDED"


class Aborted(MilimoError):
    """Somebody else changed the thing meanwhile; read it again and repeat."""

    status = "ABORTED"
    default_reason = "CONFLICT"


class Unimplemented(MilimoError):
    """The RPC is part of the contract, and the feature behind it does not exist yet."""

    status = "UNIMPLEMENTED"
    default_reason = "NOT_IMPLEMENTED"

    def __init__(self, feature: str) -> None:
        super().__init__(f"{feature} is not available in this version", metadata={"feature": feature})


@contextlib.contextmanager
def fields_below(prefix: str) -> Iterator[None]:
    """Errors of a planner name the fields of its own request: in the contract those stand below the field `prefix`."""
    try:
        yield
    except InvalidArgument as error:
        violation = error.violations[0]
        raise InvalidArgument(f"{prefix}.{violation.field}", violation.description, reason=error.reason) from error
    except NotFound as error:
        field = f"{prefix}.{error.violations[0].field}"
        raise NotFound(error.metadata["kind"], error.metadata["id"], field=field) from error
