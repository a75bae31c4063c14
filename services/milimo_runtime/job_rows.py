"""Jobs and their events between rows and values."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from milimo_runtime.assets import assets_of_jobs
from milimo_runtime.database import now
from milimo_runtime.jobs import (
    DURABLE_BODIES,
    DurableBody,
    Failed,
    Failure,
    Job,
    JobEvent,
    JobKind,
    JobState,
    Subject,
)
from milimo_runtime.lease_terms import Priority
from milimo_runtime.schema import JobEventRow, JobRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.orm import Session

    from milimo_runtime.assets import Asset


def append_event(session: Session, row: JobRow, body: DurableBody) -> JobEvent:
    """Adds the next event of the job, whose row is locked by the transaction."""
    row.last_sequence += 1
    stored = JobEventRow(
        job_id=row.id, sequence=row.last_sequence, kind=body.kind, state=row.state, body=asdict(body), time=now()
    )
    session.add(stored)
    return event_of(stored, subject_of(row))


def subject_of(row: JobRow) -> Subject:
    """What the job is about."""
    return Subject(project_id=row.project_id, shot_id=row.shot_id or "", element_id=row.element_id or "")


def event_of(row: JobEventRow, subject: Subject) -> JobEvent:
    """The value of an event's row."""
    return JobEvent(
        job_id=row.job_id,
        sequence=row.sequence,
        state=JobState(row.state),
        subject=subject,
        time=row.time,
        body=_body(row.kind, row.body),
    )


def _body(kind: str, value: dict[str, Any]) -> DurableBody:
    if kind == Failed.kind:
        return Failed(failure=_failure(value["failure"]))
    body: DurableBody = DURABLE_BODIES[kind](**value)
    return body


def _failure(value: dict[str, Any]) -> Failure:
    return Failure(code=value["code"], message=value["message"], details=tuple(value["details"]))


def job_of(session: Session, row: JobRow) -> Job:
    """The value of a row, with the job's assets."""
    return jobs_of(session, [row])[0]


def jobs_of(session: Session, rows: Sequence[JobRow]) -> list[Job]:
    """The values of rows, with the assets of all in one look."""
    assets = assets_of_jobs(session, [row.id for row in rows])
    return [_value(row, assets[row.id]) for row in rows]


def _value(row: JobRow, assets: Iterable[Asset]) -> Job:
    return Job(
        id=row.id,
        kind=JobKind(row.kind),
        service=row.service,
        worker_address=row.worker_address,
        subject=subject_of(row),
        state=JobState(row.state),
        priority=Priority(row.priority),
        attempt=row.attempt,
        parameters=row.parameters,
        retry_of=row.retry_of or "",
        traceparent=row.traceparent or "",
        cancel_requested=row.cancel_requested,
        keep_partial=row.keep_partial,
        last_sequence=row.last_sequence,
        fraction=row.fraction,
        failure=None if row.error is None else _failure(row.error),
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        assets=tuple(assets),
    )


def as_accepted(job: Job) -> Job:
    """The job as its first event showed it."""
    return replace(
        job,
        state=JobState.QUEUED,
        attempt=0,
        cancel_requested=False,
        keep_partial=False,
        last_sequence=1,
        fraction=0.0,
        failure=None,
        started_at=None,
        ended_at=None,
        assets=(),
    )
