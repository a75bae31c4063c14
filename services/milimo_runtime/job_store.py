"""The durable side of jobs: their rows and events. Every method is one transaction."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from milimo_runtime.assets import Asset, assets_of_job, from_row, new_id, require_project, to_row
from milimo_runtime.database import now
from milimo_runtime.errors import AlreadyExists, FailedPrecondition, NotFound, OutOfRange
from milimo_runtime.jobs import (
    DURABLE_BODIES,
    FINAL_STATES,
    OPEN_STATES,
    Accepted,
    ArtefactCommitted,
    DurableBody,
    Failed,
    Failure,
    Job,
    JobEvent,
    JobKind,
    JobState,
    NewJob,
    Notice,
    StateChanged,
    Subject,
)
from milimo_runtime.lease_terms import Priority
from milimo_runtime.paging import behind
from milimo_runtime.schema import AssetRow, JobEventRow, JobRow

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from milimo_runtime.database import Database
    from milimo_runtime.paging import Place


class JobTakenOver(Exception):
    """Another attempt works on the job, or it has ended: whoever meets this stops and commits nothing."""


class JobStore:
    """Reads and writes jobs. Blocking: coroutines call through `asyncio.to_thread`."""

    def __init__(self, database: Database) -> None:
        """Works on the application's database."""
        self._database = database

    def submit(self, new: NewJob, *, service: str, worker_address: str) -> tuple[Job, bool]:
        """Records a job and its first event.

        Returns:
            The job, and whether it is new: a request id that was used before finds its first job.

        Raises:
            NotFound: there is no such project.
            AlreadyExists: the request id was used with another request.
        """
        try:
            return self._submit(new, service=service, worker_address=worker_address)
        except IntegrityError:
            # Somebody else inserted the same request id between our look and our insert: PostgreSQL alone lets that be.
            return self._submit(new, service=service, worker_address=worker_address)

    def _submit(self, new: NewJob, *, service: str, worker_address: str) -> tuple[Job, bool]:
        with self._database.write() as session:
            earlier = _repeated(session, new.request_id, new.request_hash)
            if earlier is not None:
                return earlier, False
            require_project(session, new.subject.project_id)
            time = now()
            row = JobRow(
                id=new_id(),
                kind=new.kind.value,
                service=service,
                worker_address=worker_address,
                project_id=new.subject.project_id,
                shot_id=new.subject.shot_id or None,
                element_id=new.subject.element_id or None,
                state=JobState.QUEUED.value,
                priority=int(new.priority),
                attempt=0,
                parameters=dict(new.parameters),
                request_id=new.request_id or None,
                request_hash=new.request_hash,
                retry_of=new.retry_of or None,
                cancel_requested=False,
                keep_partial=False,
                last_sequence=0,
                fraction=0.0,
                error=None,
                created_at=time,
                started_at=None,
                ended_at=None,
            )
            session.add(row)
            session.flush()
            _append(session, row, Accepted())
            for notice in new.notices:
                _append(session, row, notice)
            return _job(session, row), True

    def repeated(self, request_id: str, request_hash: str) -> Job | None:
        """The job that an earlier request with the same id made; None when there is none.

        Raises:
            AlreadyExists: the id was used with another request.
        """
        with self._database.read() as session:
            return _repeated(session, request_id, request_hash)

    def get(self, job_id: str) -> Job:
        """The job. Raises NotFound."""
        with self._database.read() as session:
            return _job(session, _require(session, job_id))

    def list(
        self,
        *,
        project_id: str = "",
        states: Collection[JobState] = (),
        service: str = "",
        after: Place | None = None,
        limit: int,
    ) -> Sequence[Job]:
        """Jobs, newest first, at most `limit`. `after` is where the page before ended."""
        query = select(JobRow).order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit)
        if project_id:
            query = query.where(JobRow.project_id == project_id)
        if states:
            query = query.where(JobRow.state.in_([state.value for state in states]))
        if service:
            query = query.where(JobRow.service == service)
        if after is not None:
            query = query.where(behind(after, JobRow.created_at, JobRow.id))
        with self._database.read() as session:
            return [_job(session, row) for row in session.scalars(query)]

    def open_jobs(self, service: str) -> Sequence[Job]:
        """The service's jobs that have not ended, the oldest first."""
        states = [state.value for state in OPEN_STATES]
        query = select(JobRow).where(JobRow.service == service, JobRow.state.in_(states)).order_by(JobRow.created_at)
        with self._database.read() as session:
            return [_job(session, row) for row in session.scalars(query)]

    def adopt(self, service: str, worker_address: str) -> None:
        """From now on the service's jobs run at this address: its process was started anew, maybe on another port."""
        elsewhere = (JobRow.service == service) & (JobRow.worker_address != worker_address)
        with self._database.write() as session:
            session.execute(update(JobRow).where(elsewhere).values(worker_address=worker_address))

    def read_on(self, job_id: str, *, after: int) -> tuple[Job, Sequence[JobEvent]]:
        """The job, and in the same view its durable events with a sequence above `after`, in order.

        Raises:
            NotFound: there is no such job.
            OutOfRange: the job has no event `after`.
        """
        query = (
            select(JobEventRow)
            .where(JobEventRow.job_id == job_id, JobEventRow.sequence > after)
            .order_by(JobEventRow.sequence)
        )
        with self._database.read() as session:
            row = _require(session, job_id)
            if after > row.last_sequence:
                raise OutOfRange("after_sequence", f"is {after}; the job's latest event is {row.last_sequence}")
            subject = _subject(row)
            return _job(session, row), [_event(stored, subject) for stored in session.scalars(query)]

    def events(self, job_id: str, *, after: int = 0) -> Sequence[JobEvent]:
        """The durable events with a sequence above `after`, in order. Raises as `read_on` does."""
        return self.read_on(job_id, after=after)[1]

    def begin_attempt(self, job_id: str) -> tuple[Job, Sequence[JobEvent]]:
        """Counts a new attempt; a further one first sends the job back to QUEUED, with the reason RECOVERED.

        Raises:
            JobTakenOver: the job has ended, or is gone.
        """
        with self._database.write() as session:
            row = _locked(session, job_id)
            if row is None or JobState(row.state).final:
                raise JobTakenOver(job_id)
            row.attempt += 1
            events = []
            if row.attempt > 1:
                row.state = JobState.QUEUED.value
                events.append(_append(session, row, StateChanged(attempt=row.attempt, reason="RECOVERED")))
            return _job(session, row), events

    def enter(self, job_id: str, attempt: int, state: JobState, *, reason: str = "") -> JobEvent | None:
        """Moves the job to a state that is not final; None when it is there already. Raises JobTakenOver."""
        with self._database.write() as session:
            row = _owned(session, job_id, attempt)
            if row.state == state.value:
                return None
            row.state = state.value
            if state is JobState.RUNNING and row.started_at is None:
                row.started_at = now()
            return _append(session, row, StateChanged(attempt=attempt, reason=reason))

    def append(self, job_id: str, attempt: int, body: DurableBody) -> JobEvent:
        """Adds an event that changes no state. Raises JobTakenOver."""
        with self._database.write() as session:
            return _append(session, _owned(session, job_id, attempt), body)

    def commit_artefact(
        self, job_id: str, attempt: int, asset: Asset, *, fraction: float
    ) -> tuple[Asset, JobEvent | None]:
        """Stores a result. One of the same name that is there already wins: the event is then None.

        Raises:
            JobTakenOver: another attempt owns the job.
        """
        with self._database.write() as session:
            row = _owned(session, job_id, attempt)
            query = select(AssetRow).where(AssetRow.job_id == job_id, AssetRow.artefact == asset.artefact)
            earlier = session.scalar(query)
            if earlier is not None:
                return from_row(earlier), None
            session.add(to_row(asset))
            row.fraction = max(row.fraction, fraction)
            return asset, _append(session, row, ArtefactCommitted(asset=asset.to_json()))

    def artefact(self, job_id: str, name: str) -> Asset | None:
        """A result that was committed before."""
        query = select(AssetRow).where(AssetRow.job_id == job_id, AssetRow.artefact == name)
        with self._database.read() as session:
            row = session.scalar(query)
            return None if row is None else from_row(row)

    def finish(self, job_id: str, attempt: int, state: JobState, *, failure: Failure | None = None) -> JobEvent:
        """Ends the job. Raises JobTakenOver."""
        if state not in FINAL_STATES:
            raise ValueError(f"{state} is not final")
        with self._database.write() as session:
            row = _owned(session, job_id, attempt)
            row.state = state.value
            row.ended_at = now()
            if state is JobState.SUCCEEDED:
                row.fraction = 1.0
            if failure is not None:
                row.error = {**asdict(failure), "details": list(failure.details)}
                return _append(session, row, Failed(failure=failure))
            return _append(session, row, StateChanged(attempt=attempt))

    def remove_partial(self, job_id: str, attempt: int) -> Sequence[Asset]:
        """Removes the rows of what a cancelled job has stored, unless it was to be kept. Raises JobTakenOver.

        Returns:
            What was removed: its files can go.
        """
        with self._database.write() as session:
            row = _owned(session, job_id, attempt)
            if row.keep_partial:
                return ()
            removed = assets_of_job(session, job_id)
            session.execute(delete(AssetRow).where(AssetRow.job_id == job_id))
            return removed

    def request_cancel(self, job_id: str, *, keep_partial: bool) -> Job:
        """Marks the job as to be cancelled; one that has ended stays as it is. Raises NotFound."""
        with self._database.write() as session:
            row = _locked(session, job_id)
            if row is None:
                raise NotFound("job", job_id)
            if not JobState(row.state).final:
                row.cancel_requested = True
                row.keep_partial = keep_partial
            return _job(session, row)

    def retry(self, job_id: str, *, request_id: str) -> tuple[Job, bool]:
        """A new job with the same request. Raises NotFound, AlreadyExists, FailedPrecondition (it has not ended)."""
        job = self.get(job_id)
        if not job.state.final:
            raise FailedPrecondition(f"job_id: the job is {job.state.value}; only one that has ended can be retried")
        new = NewJob(
            kind=job.kind,
            subject=job.subject,
            parameters=job.parameters,
            priority=job.priority,
            request_id=request_id,
            request_hash=f"retry {job_id}",
            retry_of=job_id,
            notices=tuple(
                event.body
                for event in self.events(job_id)
                if isinstance(event.body, Notice) and event.state is JobState.QUEUED
            ),
        )
        return self.submit(new, service=job.service, worker_address=job.worker_address)

    def expired(self, service: str, *, ended_before: datetime, limit: int) -> Sequence[str]:
        """The ids of the service's jobs that ended before a time, the oldest first, at most `limit`."""
        query = (
            select(JobRow.id)
            .where(JobRow.service == service, JobRow.ended_at < ended_before)
            .order_by(JobRow.ended_at)
            .limit(limit)
        )
        with self._database.read() as session:
            return session.scalars(query).all()

    def remove(self, job_ids: Sequence[str]) -> None:
        """Removes jobs and their events; their assets stay."""
        with self._database.write() as session:
            session.execute(delete(JobRow).where(JobRow.id.in_(job_ids)))

    def delete(self, job_id: str) -> None:
        """Removes an ended job and its events; its assets stay. Raises NotFound, FailedPrecondition."""
        with self._database.write() as session:
            row = _require(session, job_id)
            if not JobState(row.state).final:
                raise FailedPrecondition(f"job_id: the job is {row.state}; cancel it before it is deleted")
            session.delete(row)


def _repeated(session: Session, request_id: str, request_hash: str) -> Job | None:
    if not request_id:
        return None
    row = session.scalar(select(JobRow).where(JobRow.request_id == request_id))
    if row is None:
        return None
    if row.request_hash != request_hash:
        raise AlreadyExists(f"request_id: {request_id} was used before, with another request")
    return _job(session, row)


def _require(session: Session, job_id: str) -> JobRow:
    row = session.get(JobRow, job_id)
    if row is None:
        raise NotFound("job", job_id)
    return row


def _locked(session: Session, job_id: str) -> JobRow | None:
    """The row. PostgreSQL locks it until the transaction's end; SQLite's write transactions exclude each other."""
    return session.scalar(select(JobRow).where(JobRow.id == job_id).with_for_update())


def _owned(session: Session, job_id: str, attempt: int) -> JobRow:
    """The row, if this attempt still owns the job."""
    row = _locked(session, job_id)
    if row is None or row.attempt != attempt or JobState(row.state).final:
        raise JobTakenOver(job_id)
    return row


def _append(session: Session, row: JobRow, body: DurableBody) -> JobEvent:
    """Adds the next event of the job."""
    row.last_sequence += 1
    stored = JobEventRow(
        job_id=row.id, sequence=row.last_sequence, kind=body.kind, state=row.state, body=asdict(body), time=now()
    )
    session.add(stored)
    return _event(stored, _subject(row))


def _subject(row: JobRow) -> Subject:
    return Subject(project_id=row.project_id, shot_id=row.shot_id or "", element_id=row.element_id or "")


def _event(row: JobEventRow, subject: Subject) -> JobEvent:
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


def _job(session: Session, row: JobRow) -> Job:
    return Job(
        id=row.id,
        kind=JobKind(row.kind),
        service=row.service,
        worker_address=row.worker_address,
        subject=_subject(row),
        state=JobState(row.state),
        priority=Priority(row.priority),
        attempt=row.attempt,
        parameters=row.parameters,
        retry_of=row.retry_of or "",
        cancel_requested=row.cancel_requested,
        keep_partial=row.keep_partial,
        last_sequence=row.last_sequence,
        fraction=row.fraction,
        failure=None if row.error is None else _failure(row.error),
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        assets=assets_of_job(session, row.id),
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
