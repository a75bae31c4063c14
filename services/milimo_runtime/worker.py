"""Runs the jobs of one service: takes them in, starts them, stops them, takes them up again after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from milimo_runtime.answered import forget_answers
from milimo_runtime.assets import delete_asset_files
from milimo_runtime.database import now
from milimo_runtime.durable import DurableEngine, Known
from milimo_runtime.errors import Aborted, FailedPrecondition, MilimoError, NotFound, Unavailable
from milimo_runtime.failures import failure_of
from milimo_runtime.job_run import DATABASE_AWAY, DatabaseAway, JobDraining, JobFailed, JobRun, Program, Signals
from milimo_runtime.job_store import JobTakenOver
from milimo_runtime.job_tally import JobTally
from milimo_runtime.job_trace import job_span, name_job, tell_end
from milimo_runtime.jobs import Failure, Job, JobKind, JobState, NewJob, OpenJob
from milimo_runtime.leftovers import delete_leftovers
from milimo_runtime.logs import current_job
from milimo_runtime.model_process import Loaded
from milimo_runtime.observer import JobCancelled
from milimo_runtime.progress import StageSpeeds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from milimo_runtime.job_feed import JobFeed
    from milimo_runtime.job_store import JobStore
    from milimo_runtime.jobs import JobEvent
    from milimo_runtime.media import MediaStore
    from milimo_runtime.model_process import ModelProcess

log = logging.getLogger(__name__)

# How often the rows of open jobs are read, in seconds.
_LOOK_SECONDS: Final = 5.0
# How often ended jobs are collected, and how many in one transaction.
_COLLECT_SECONDS: Final = 600.0
_COLLECTED_AT_ONCE: Final = 500

M = TypeVar("M", bound=Loaded)


class JobOutdated(FailedPrecondition):
    """A job was begun by another version of the service, whose steps were others."""

    default_reason = "UPGRADED"

    def __init__(self) -> None:
        super().__init__("the job was begun by another version of the service and cannot be gone on with; retry it")


class JobAbandoned(Aborted):
    """A job has not ended, and nothing works on it."""

    default_reason = "ABANDONED"

    def __init__(self) -> None:
        super().__init__("the job was given up: its process died too often, or its end could not be recorded; retry it")


class Worker:
    """The jobs of one service in this process."""

    def __init__(
        self,
        *,
        service: str,
        version: int,
        address: str,
        store: JobStore,
        feed: JobFeed,
        media: MediaStore,
        programs: Mapping[JobKind, Program],
        engine_url: str,
        executor_id: str,
        retention: timedelta,
        request_ids: timedelta,
    ) -> None:
        """Nothing runs before `start`.

        `address` is where this process answers WorkerService; `retention` how long ended jobs are kept, `request_ids`
        how long the answers to requests.
        """
        self.feed = feed
        self.store = store
        self.address = address
        self._service = service
        self._retention = retention
        self._request_ids = request_ids
        self._media = media
        self._programs = programs
        self._speeds = StageSpeeds()
        self._tally = JobTally()
        self._signals: dict[str, Signals] = {}
        # Jobs that a thread of this process works on, or waits with.
        self._running: set[str] = set()
        # Jobs that were left when the database did not answer.
        self._left: set[str] = set()
        self._lock = threading.Lock()
        self._draining = False
        self._looking: asyncio.Task[None] | None = None
        self._engine = DurableEngine(
            service=service, version=version, url=engine_url, executor_id=executor_id, run=self._run
        )

    async def start(self) -> None:
        """Takes up the jobs that an earlier process left unfinished."""
        await asyncio.to_thread(self.store.adopt, self._service, self.address)
        self._tally.export()
        await asyncio.to_thread(self._engine.launch)
        await asyncio.to_thread(self._look_after, timedelta(0))
        self._looking = asyncio.create_task(self._keep_looking(), name=f"open jobs of {self._service}")

    async def repeated(self, request_id: str, request_hash: str) -> Job | None:
        """The job that an earlier request with the same id made, if there is one. Raises AlreadyExists."""
        return await asyncio.to_thread(self.store.repeated, request_id, request_hash)

    async def submit(self, new: NewJob) -> Job:
        """Records the job and starts it; a repeated request id finds its first job. Raises as `JobStore.submit`."""
        # One thread does both: a caller who goes away in between must not leave a job that nobody starts.
        return await asyncio.to_thread(self._submit, new)

    def _submit(self, new: NewJob) -> Job:
        job, created = self.store.submit(new, service=self._service, worker_address=self.address)
        name_job(job)
        if created:
            self._tally.reached(job, job.state)
            self._publish(self.store.events(job.id))
            self._engine.start(job.id)
        return job

    async def notify(self, job_id: str) -> None:
        """Reads the job's row again: another process made, cancelled or deleted it."""
        await asyncio.to_thread(self._notify, job_id)

    def _notify(self, job_id: str) -> None:
        try:
            job = self.store.get(job_id)
        except NotFound:
            # Only jobs that have ended are deleted: what the engine keeps of it is of no more use.
            self._engine.forget([job_id])
            return
        if job.service != self._service:
            raise Unavailable(f"the job runs in the {job.service} process; this is {self._service}")
        if job.state.final:
            return
        if job.attempt == 0:
            # Another process made it: nobody here has heard of it yet.
            self._publish(self.store.events(job_id))
        self._look_at([OpenJob(id=job.id, created_at=job.created_at, cancel_requested=job.cancel_requested)])

    async def _keep_looking(self) -> None:
        """A notification may get lost, when this process was slow or away: the rows tell the same, a little later."""
        collected = float("-inf")
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await asyncio.to_thread(self._look_after, timedelta(seconds=_LOOK_SECONDS))
                if time.monotonic() - collected >= _COLLECT_SECONDS:
                    await asyncio.to_thread(self._collect)
                    collected = time.monotonic()
            except SQLAlchemyError:
                log.exception("open jobs cannot be read", extra={"action": "look_failed"})

    def _collect(self) -> None:
        """Removes what has had its time: ended jobs, here and in the engine, and answers to requests."""
        moment = now()
        forget_answers(self.store.database, before=moment - self._request_ids)
        before = moment - self._retention
        while ids := self.store.expired(self._service, ended_before=before, limit=_COLLECTED_AT_ONCE):
            # The rows last: they tell which ones are left after a crash.
            self._engine.forget(ids)
            self.store.remove(ids)
            log.info("jobs collected", extra={"action": "jobs_collected", "jobs": len(ids)})
        delete_leftovers(self.store.database, self._media)
        # Of jobs that went with their project, or that were deleted while this process was away.
        self._engine.forget_ended(before)

    def _look_after(self, age: timedelta) -> None:
        """Looks at all open jobs that are at least so old: younger ones are just being started."""
        latest = now() - age
        self._look_at([job for job in self.store.open_jobs(self._service) if job.created_at <= latest])

    def _look_at(self, jobs: Sequence[OpenJob]) -> None:
        """Sees to it that open jobs run, and hear of their cancellation."""
        for job in jobs:
            if job.cancel_requested:
                self._signals_of(job.id).cancel()
        with self._lock:
            idle = [job.id for job in jobs if job.id not in self._running]
        for job_id, known in self._engine.known(idle).items():
            match known:
                case Known.NOTHING:
                    self._engine.start(job_id)
                case Known.OUTDATED:
                    self._give_up(job_id, JobOutdated())
                case Known.OVER:
                    self._give_up(job_id, JobAbandoned())
                case Known.OPEN:
                    with self._lock:
                        left = job_id in self._left
                        self._left.discard(job_id)
                    if left:
                        self._engine.resume(job_id)

    def _give_up(self, job_id: str, error: MilimoError) -> None:
        """Ends a job that nothing will go on with."""
        with contextlib.suppress(JobTakenOver):
            job, events = self.store.begin_attempt(job_id)
            self._publish(events)
            self._publish([self.store.finish(job_id, job.attempt, JobState.FAILED, failure=failure_of(error))])
            self._tally.ended(job, JobState.FAILED)
            self._delete_work(job)
            log.warning("job given up", extra={"action": "job_given_up", "job_id": job_id, "reason": error.reason})

    def _delete_work(self, job: Job) -> None:
        """Removes what the job kept from one step to the next."""
        if job.subject.project_id:
            self._media.delete_work(job.subject.project_id, job.id)

    def _publish(self, events: Iterable[JobEvent]) -> None:
        for event in events:
            self.feed.publish(event)

    async def drain(self) -> None:
        """Leaves running jobs at their next step, to be taken up after the restart."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        with self._lock:
            self._draining = True
            running = list(self._signals.values())
        for signals in running:
            signals.drain()

    async def close(self, wait_s: float) -> None:
        """Ends the engine, after at most `wait_s` seconds."""
        await asyncio.to_thread(self._engine.close, wait_s=wait_s)

    def _signals_of(self, job_id: str) -> Signals:
        with self._lock:
            signals = self._signals.setdefault(job_id, Signals())
            if self._draining:
                signals.draining.set()
            return signals

    def _run(self, job_id: str) -> str:
        """The workflow: one attempt at the job, in a thread. Returns the state in which the job ended."""
        token = current_job.set(job_id)
        signals = self._signals_of(job_id)
        with self._lock:
            self._running.add(job_id)
        try:
            if signals.draining.is_set():
                raise JobDraining
            job, events = self.store.begin_attempt(job_id)
            self._tally.reached(job, job.state)
            self._publish(events)
            if job.cancel_requested:
                signals.cancel()
            with job_span(job):
                return self._attempt(job, signals)
        except JobTakenOver:
            self._tally.left(job_id)
            log.info("job taken over or ended", extra={"action": "job_taken_over"})
            return "taken over"
        except (DatabaseAway, *DATABASE_AWAY) as error:
            log.warning("job left: the database is away", exc_info=error, extra={"action": "job_left"})
            with self._lock:
                self._left.add(job_id)
            raise DatabaseAway(job_id) from error
        finally:
            with self._lock:
                self._signals.pop(job_id, None)
                self._running.discard(job_id)
            current_job.reset(token)

    def _attempt(self, job: Job, signals: Signals) -> str:
        run = JobRun(
            job=job,
            store=self.store,
            feed=self.feed,
            signals=signals,
            speeds=self._speeds,
            on_state=lambda state: self._tally.reached(job, state),
        )
        state, failure = JobState.SUCCEEDED, None
        try:
            signals.check()
            self._programs[job.kind].run(run)
        except JobCancelled:
            state = JobState.CANCELLED
        except (JobTakenOver, *DATABASE_AWAY):
            raise
        except JobFailed as error:
            state, failure = JobState.FAILED, error.failure
        except Exception as error:  # noqa: BLE001  Whatever escapes a program ends its job, told by id and logged in full.
            state, failure = JobState.FAILED, failure_of(error)
        self._finish(run, state, failure)
        return state

    def _finish(self, run: JobRun, state: JobState, failure: Failure | None) -> None:
        if state is JobState.CANCELLED:
            # Files after their rows: files without rows can be collected, rows without files would be broken.
            for asset in self.store.remove_partial(run.job.id, run.job.attempt):
                delete_asset_files(self._media, asset)
        run.tell(self.store.finish(run.job.id, run.job.attempt, state, failure=failure))
        self._tally.ended(run.job, state)
        # Afterwards: the end is fenced, so that an attempt that was taken over takes nothing from the one that goes on.
        self._delete_work(run.job)
        tell_end(state, failure)
        log.info("job ended", extra={"action": "job_ended", "state": state.value})


@contextlib.asynccontextmanager
async def open_worker(
    process: ModelProcess[M],
    *,
    service: str,
    version: int,
    address: str,
    programs: Mapping[JobKind, Program],
) -> AsyncIterator[Worker]:
    """The worker of a model process, with what an earlier process left taken up; ended again afterwards."""
    settings = process.settings
    worker = Worker(
        service=service,
        version=version,
        address=address,
        store=process.store,
        feed=process.feed,
        media=process.media,
        programs=programs,
        engine_url=settings.engine_url(service),
        executor_id=settings.executor_id,
        retention=timedelta(days=settings.job_retention_days),
        request_ids=timedelta(hours=settings.request_id_hours),
    )
    await worker.start()
    try:
        yield worker
    finally:
        await worker.drain()
        await worker.close(settings.drain_seconds)
