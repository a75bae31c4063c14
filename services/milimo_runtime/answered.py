"""Repeats of a mutating request: the same request id gets the same answer, and does nothing a second time.

Each mutating RPC does its work inside `answer_once`. What a request id stands for is kept for a configured time, and
then collected with the ended jobs.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

from google.protobuf.message import Message
from sqlalchemy import delete, func, select

from milimo_runtime.database import now
from milimo_runtime.errors import AlreadyExists
from milimo_runtime.schema import AnsweredRow

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from google.protobuf.descriptor import Descriptor
    from sqlalchemy import CursorResult
    from sqlalchemy.orm import Session

    from milimo_runtime.database import Database

R = TypeVar("R", bound=Message)

# How many are collected in one transaction, which holds up all others on SQLite.
_COLLECTED_AT_ONCE: Final = 500


class Mutation(Protocol):
    """A request of the contract that carries a request id."""

    DESCRIPTOR: Descriptor
    request_id: str

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...


def answer_once(database: Database, request: Mutation, response: type[R], work: Callable[[Session], R]) -> R:
    """Does `work` and records its answer in one transaction, unless an earlier request with the same id did.

    A request without an id is done each time that it comes. Work that raises is not recorded: it may be repeated.

    Raises:
        AlreadyExists: the id was used with another request.
    """
    method = request.DESCRIPTOR.full_name
    digest = request_hash(method, cast("Message", request))
    with database.write() as session:
        one_at_a_time(session, request.request_id)
        given = recall(session, request.request_id, digest)
        if given is not None:
            return response.FromString(given)
        answer = work(session)
        remember(session, request.request_id, method=method, digest=digest, answer=answer.SerializeToString())
        return answer


def request_hash(method: str, *parts: Message | str) -> str:
    """Names a request by its content, so that a repeated request id can be told from a reused one."""
    digest = hashlib.sha256(method.encode())
    for part in parts:
        data = part.encode() if isinstance(part, str) else part.SerializeToString(deterministic=True)
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def one_at_a_time(session: Session, request_id: str) -> None:
    """A repeat that comes while the first is at work waits for it. SQLite's write transactions do so by themselves."""
    if request_id and session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(request_id, 0))))


def recall(session: Session, request_id: str, digest: str) -> bytes | None:
    """What was remembered of the id; None when it is new. Raises AlreadyExists for an id of another request."""
    row = session.get(AnsweredRow, request_id) if request_id else None
    if row is None:
        return None
    if row.request_hash != digest:
        raise AlreadyExists(f"request_id: {request_id} was used before, with another request")
    return row.response


def remember(session: Session, request_id: str, *, method: str, digest: str, answer: bytes) -> None:
    """Records what the id stands for, with the transaction of the change itself."""
    if request_id:
        session.add(
            AnsweredRow(request_id=request_id, method=method, request_hash=digest, response=answer, created_at=now())
        )


def forget_answers(database: Database, *, before: datetime) -> int:
    """Removes what was answered before a time; returns how many."""
    old = (
        select(AnsweredRow.request_id)
        .where(AnsweredRow.created_at < before)
        .order_by(AnsweredRow.created_at)
        .limit(_COLLECTED_AT_ONCE)
    )
    removed = 0
    while True:
        with database.write() as session:
            gone = cast(
                "CursorResult[object]", session.execute(delete(AnsweredRow).where(AnsweredRow.request_id.in_(old)))
            ).rowcount
        removed += gone
        if gone < _COLLECTED_AT_ONCE:
            return removed
