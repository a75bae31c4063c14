"""Repeats of a mutating request: the same request id gets the same answer, and does nothing a second time."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import Message
from sqlalchemy import func, select

from milimo_runtime.database import now
from milimo_runtime.errors import AlreadyExists
from milimo_runtime.job_messages import request_hash
from milimo_runtime.schema import AnsweredRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

R = TypeVar("R", bound=Message)


def answer_once(
    session: Session, *, method: str, request: Message, request_id: str, response: type[R], work: Callable[[], R]
) -> R:
    """Does `work` in the transaction of `session`, unless an earlier request with the same id did.

    Raises:
        AlreadyExists: the id was used with another request.
    """
    if not request_id:
        return work()
    digest = request_hash(method, request)
    if session.get_bind().dialect.name == "postgresql":
        # A repeat that comes while the first is at work waits for it. SQLite's write transactions do so by themselves.
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(request_id, 0))))
    row = session.get(AnsweredRow, request_id)
    if row is not None:
        if row.request_hash != digest:
            raise AlreadyExists(f"request_id: {request_id} was used before, with another request")
        return response.FromString(row.response)
    answer = work()
    session.add(
        AnsweredRow(
            request_id=request_id,
            method=method,
            request_hash=digest,
            response=answer.SerializeToString(),
            created_at=now(),
        )
    )
    return answer
