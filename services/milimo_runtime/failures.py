"""An error as a job keeps it: a `google.rpc.Status` as JSON."""

from __future__ import annotations

import logging
import uuid

from google.protobuf import json_format
from google.rpc import status_pb2

from milimo_runtime import statuses
from milimo_runtime.errors import MilimoError
from milimo_runtime.jobs import Failure

log = logging.getLogger(__name__)


def failure_of(error: Exception) -> Failure:
    """What a user may see of the error. One that is not theirs is logged, and only its id told."""
    if isinstance(error, MilimoError):
        return _failure(statuses.to_status(error))
    error_id = uuid.uuid4().hex
    log.error("job failed", exc_info=error, extra={"action": "job_failed", "error_id": error_id})
    return _failure(statuses.internal_status(error_id))


def status_of(failure: Failure) -> status_pb2.Status:
    """The status again."""
    return json_format.ParseDict(
        {"code": failure.code, "message": failure.message, "details": [dict(detail) for detail in failure.details]},
        status_pb2.Status(),
    )


def _failure(status: status_pb2.Status) -> Failure:
    value = json_format.MessageToDict(status)
    return Failure(code=status.code, message=status.message, details=tuple(value.get("details", ())))
