"""The durable side of jobs: their rows and events. Every method is one transaction."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, select, update

from milimo_runtime.answered import one_at_a_time, recall, remember
from milimo_runtime.assets import Asset, assets_of_jobs, from_row, new_id, require_project, to_row
from milimo_runtime.database import now
from milimo_runtime.elements import add_images
from milimo_runtime.errors import FailedPrecondition, NotFound, OutOfRange, ResourceExhausted
from milimo_runtime.job_rows import append_event, event_of, job_of, jobs_of, subject_of
from milimo_runtime.jobs import (
    FINAL_STATES,
    OPEN_STATES,
    Accepted,
    ArtefactCommitted,
    DurableBody,
    Failed,
    Failure,
    Job,
    JobEvent,
    JobState,
    NewJob,
    Notice,
    OpenJob,
    StateChanged,
)
from milimo_runtime.limits import OPEN_JOBS
from milimo_runtime.paging import behind
from milimo_runtime.schema import AssetRow, JobEventRow, JobRow
from milimo_runtime.telemetry import current_traceparent

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from milimo_runtime.database import Database
    from milimo_runtime.paging import Place

# When another try is worth it for a job that found the queue full, in seconds.
_FULL_RETRY_SECONDS: Final = 30.0
_OPEN: Final = tuple(state.value for state in OPEN_STATES)


class JobTakenOver(Exception):
    """Another attempt works on the job, or it has ended: whoever meets this stops and commits nothing."""


class JobStore:
    """Reads and writes jobs. Blocking: coroutines call through `asyncio.to_thread`."""

    def __init__(self, database: Database, *, open_jobs: int = OPEN_JOBS) -> None:
        """Works on the application's database; a service takes in so many jobs that have not ended."""
        self.database = database
        self._open_jobs = open_jobs

    def submit(self, new: NewJob, *, service: str, worker_address: str) -> tuple[Job, bool]:
        """Records a job and its first event.

        Returns:
            The job, and whether it is new: a request id that was used before finds its first job.

        Raises:
            NotFound: there is no such project, or the job of the request id was deleted since.
            AlreadyExists: the request id was used with another request.
            ResourceExhausted: too many jobs of the service have not ended (QUEUE_FULL).
        """
        with self.database.write() as session:
            one_at_a_time(session, new.request_id)
            earlier = _repeated(session, new.request_id, new.request_hash)
            if earlier is not None:
                return earlier, False
            require_project(session, new.subject.project_id)
            _require_room(session, service, self._open_jobs)
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
                retry_of=new.retry_of or None,
                traceparent=current_traceparent(),
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
            append_event(session, row, Accepted())
            for notice in new.notices:
                append_event(session, row, notice)
            remember(session, new.request_id, method=new.kind.value, digest=new.request_hash, answer=row.id.encode())
            return job_of(session, row), True

    def repeated(self, request_id: str, request_hash: str) -> Job | None:
        """The job that an earlier request with the same id made; None when there is none.

        Raises:
            AlreadyExists: the id was used with another request.
        """
        with self.database.read() as session:
            return _repeated(session, request_id, request_hash)

    def get(self, job_id: str) -> Job:
        """The job. Raises NotFound."""
        with self.database.read() as session:
            return job_of(session, _require(session, job_id))

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
        with self.database.read() as session:
            return jobs_of(session, session.scalars(query).all())

    def open_jobs(self, service: str) -> Sequence[OpenJob]:
        """The service's jobs that have not ended, the oldest first."""
        query = (
            select(JobRow.id, JobRow.created_at, JobRow.cancel_requested)
            .where(JobRow.service == service, JobRow.state.in_(_OPEN))
            .order_by(JobRow.created_at)
        )
        with self.database.read() as session:
            return [
                OpenJob(id=id_, created_at=created_at, cancel_requested=cancel_requested)
                for id_, created_at, cancel_requested in session.execute(query)
            ]

    def adopt(self, service: str, worker_address: str) -> None:
        """From now on the service's jobs run at this address: its process was started anew, maybe on another port."""
        elsewhere = (JobRow.service == service) & (JobRow.worker_address != worker_address)
        with self.database.write() as session:
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
        with self.database.read() as session:
            row = _require(session, job_id)
            if after > row.last_sequence:
                raise OutOfRange("after_sequence", f"is {after}; the job's latest event is {row.last_sequence}")
            subject = subject_of(row)
            return job_of(session, row), [event_of(stored, subject) for stored in session.scalars(query)]

    def events(self, job_id: str, *, after: int = 0) -> Sequence[JobEvent]:
        """The durable events with a sequence above `after`, in order. Raises as `read_on` does."""
        return self.read_on(job_id, after=after)[1]

    def begin_attempt(self, job_id: str) -> tuple[Job, Sequence[JobEvent]]:
        """Counts a new attempt; a further one first sends the job back to QUEUED, with the reason RECOVERED.

        Raises:
            JobTakenOver: the job has ended, or is gone.
        """
        with self.database.write() as session:
            row = _locked(session, job_id)
            if row is None or JobState(row.state).final:
                raise JobTakenOver(job_id)
            row.attempt += 1
            events = []
            if row.attempt > 1:
                row.state = JobState.QUEUED.value
                events.append(append_event(session, row, StateChanged(attempt=row.attempt, reason="RECOVERED")))
            return job_of(session, row), events

    def enter(self, job_id: str, attempt: int, state: JobState, *, reason: str = "") -> JobEvent | None:
        """Moves the job to a state that is not final; None when it is there already. Raises JobTakenOver."""
        with self.database.write() as session:
            row = _owned(session, job_id, attempt)
            if row.state == state.value:
                return None
            row.state = state.value
            if state is JobState.RUNNING and row.started_at is None:
                row.started_at = now()
            return append_event(session, row, StateChanged(attempt=attempt, reason=reason))

    def append(self, job_id: str, attempt: int, body: DurableBody) -> JobEvent:
        """Adds an event that changes no state. Raises JobTakenOver."""
        with self.database.write() as session:
            return append_event(session, _owned(session, job_id, attempt), body)

    def commit_artefact(
        self, job_id: str, attempt: int, asset: Asset, *, fraction: float
    ) -> tuple[Asset, JobEvent | None]:
        """Stores a result. One of the same name that is there already wins: the event is then None.

        Raises:
            JobTakenOver: another attempt owns the job.
        """
        with self.database.write() as session:
            row = _owned(session, job_id, attempt)
            query = select(AssetRow).where(AssetRow.job_id == job_id, AssetRow.artefact == asset.artefact)
            earlier = session.scalar(query)
            if earlier is not None:
                return from_row(earlier), None
            session.add(to_row(asset))
            row.fraction = max(row.fraction, fraction)
            return asset, append_event(session, row, ArtefactCommitted(asset=asset.to_json()))

    def artefact(self, job_id: str, name: str) -> Asset | None:
        """A result that was committed before."""
        query = select(AssetRow).where(AssetRow.job_id == job_id, AssetRow.artefact == name)
        with self.database.read() as session:
            row = session.scalar(query)
            return None if row is None else from_row(row)

    def finish(self, job_id: str, attempt: int, state: JobState, *, failure: Failure | None = None) -> JobEvent:
        """Ends the job; with its success an element that it is about gets its results. Raises JobTakenOver."""
        if state not in FINAL_STATES:
            raise ValueError(f"{state} is not final")
        with self.database.write() as session:
            row = _owned(session, job_id, attempt)
            row.state = state.value
            row.ended_at = now()
            if state is JobState.SUCCEEDED:
                row.fraction = 1.0
                if row.element_id is not None:
                    assets = assets_of_jobs(session, [job_id])[job_id]
                    add_images(session, row.element_id, [asset.id for asset in assets])
            if failure is not None:
                row.error = {**asdict(failure), "details": list(failure.details)}
                return append_event(session, row, Failed(failure=failure))
            return append_event(session, row, StateChanged(attempt=attempt))

    def remove_partial(self, job_id: str, attempt: int) -> Sequence[Asset]:
        """Removes the rows of what a cancelled job has stored, unless it was to be kept. Raises JobTakenOver.

        Returns:
            What was removed: its files can go.
        """
        with self.database.write() as session:
            row = _owned(session, job_id, attempt)
            if row.keep_partial:
                return ()
            removed = assets_of_jobs(session, [job_id])[job_id]
            session.execute(delete(AssetRow).where(AssetRow.job_id == job_id))
            return removed

    def retry(self, job_id: str, *, request_id: str) -> tuple[Job, bool]:
        """A new job with the same request.

        Raises:
            NotFound, FailedPrecondition (it has not ended), and as `submit` does.
        """
        digest = f"retry {job_id}"
        # Before the job is looked at: a repeat finds the new one also when the old one is gone.
        earlier = self.repeated(request_id, digest)
        if earlier is not None:
            return earlier, False
        job = self.get(job_id)
        if not job.state.final:
            raise FailedPrecondition(f"job_id: the job is {job.state.value}; only one that has ended can be retried")
        new = NewJob(
            kind=job.kind,
            subject=job.subject,
            parameters=job.parameters,
            priority=job.priority,
            request_id=request_id,
            request_hash=digest,
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
        with self.database.read() as session:
            return session.scalars(query).all()

    def remove(self, job_ids: Sequence[str]) -> None:
        """Removes jobs and their events; their assets stay."""
        with self.database.write() as session:
            session.execute(delete(JobRow).where(JobRow.id.in_(job_ids)))


def request_cancel(session: Session, job_id: str, *, keep_partial: bool) -> Job:
    """Marks the job as to be cancelled; one that has ended stays as it is. Raises NotFound."""
    row = _locked(session, job_id)
    if row is None:
        raise NotFound("job", job_id)
    if not JobState(row.state).final:
        row.cancel_requested = True
        row.keep_partial = keep_partial
    return job_of(session, row)


def delete_job(session: Session, job_id: str) -> Job:
    """Removes an ended job and its events; its assets stay. Returns it. Raises NotFound, FailedPrecondition."""
    row = _locked(session, job_id)
    if row is None:
        raise NotFound("job", job_id)
    if not JobState(row.state).final:
        raise FailedPrecondition(f"job_id: the job is {row.state}; cancel it before it is deleted")
    job = job_of(session, row)
    session.delete(row)
    return job


def _require_room(session: Session, service: str, open_jobs: int) -> None:
    """Raises ResourceExhausted when so many jobs of the service have not ended."""
    if session.get_bind().dialect.name == "postgresql":
        # Whoever counts at the same time waits. SQLite's write transactions exclude each other anyway.
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"open jobs of {service}", 0))))
    # The index on service and state answers it, and looks at no more entries than the bound.
    found = select(JobRow.state).where(JobRow.service == service, JobRow.state.in_(_OPEN))
    if session.scalar(found.offset(open_jobs - 1).limit(1)) is not None:
        raise ResourceExhausted(
            f"{open_jobs} jobs of the {service} service have not ended, which is as many as it takes in",
            reason="QUEUE_FULL",
            retry_after_s=_FULL_RETRY_SECONDS,
        )


def _repeated(session: Session, request_id: str, request_hash: str) -> Job | None:
    found = recall(session, request_id, request_hash)
    if found is None:
        return None
    row = session.get(JobRow, found.decode())
    if row is None:
        raise NotFound("job", found.decode(), field="request_id")
    return job_of(session, row)


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
