"""All jobs of the mesh as all their watchers see them: the live streams of the processes, and what those missed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import grpc.aio
from milimo.v1 import worker_pb2
from milimo_runtime.errors import NotFound, OutOfRange
from milimo_runtime.job_messages import event_message
from milimo_runtime.jobs import OPEN_STATES, JobState
from milimo_runtime.paging import Place
from milimo_runtime.statuses import from_rpc_error

from milimo_storyboard.broadcast import Broadcast
from milimo_storyboard.inbox import Inbox
from milimo_storyboard.job_broadcast import FINAL
from milimo_storyboard.peers import AWAY

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from milimo.v1 import jobs_pb2
    from milimo_runtime.job_store import JobStore
    from milimo_runtime.jobs import Job

    from milimo_storyboard.peers import Peers

log = logging.getLogger(__name__)

# Durable events that one slow reader may fall behind.
_BACKLOG: Final = 10_000
_READY_SECONDS: Final = 5.0
# How often the rows are read while nothing seems to be missed: what was told of ended jobs can be forgotten then.
_SWEEP_SECONDS: Final = 60.0
# A row may carry a time this long before it can be seen: its transaction waited.
_COMMIT_DELAY: Final = timedelta(seconds=60)
_PAGE: Final = 500


@dataclass(slots=True, kw_only=True)
class _Known:
    """What was told of a job. `since` is not before its row was made."""

    sequence: int
    since: datetime
    ended: bool = False
    fraction: float = 0.0


class MeshBroadcast(Broadcast):
    """The events of all jobs from now on, whichever process runs them, and whichever is away meanwhile."""

    def __init__(
        self, peers: Peers, store: JobStore, workers: Collection[str], *, previews: bool, clock: Callable[[], datetime]
    ) -> None:
        """`clock` tells the time as the jobs' rows carry it."""
        super().__init__(peers)
        self._store = store
        self._workers = tuple(dict.fromkeys(workers))
        self._previews = previews
        self._clock = clock
        self._known: dict[str, _Known] = {}
        # All jobs that are older than this are known, or had ended before anybody watched.
        self._horizon = datetime.min.replace(tzinfo=UTC)
        self._reading = asyncio.Lock()

    async def open(self, project_id: str) -> Inbox:
        """An inbox for what happens from now on, in one project or in all. Raises Unavailable."""
        await self.ready()
        inbox = Inbox(project_id=project_id, limit=_BACKLOG)
        self.add(inbox)
        return inbox

    async def _read(self) -> None:
        begin = self._clock()
        self._horizon = begin - _COMMIT_DELAY
        for job in await self._candidates():
            self._known[job.id] = _Known(sequence=job.last_sequence, since=job.created_at, ended=job.state.final)
        self._begin()
        tasks = [asyncio.create_task(self._follow(address)) for address in self._workers]
        tasks.append(asyncio.create_task(self._sweep()))
        try:
            # None of them ends but by an error, which is that of all who watch.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, address: str) -> None:
        """Tells what the process at the address tells, as often as it comes back."""
        request = worker_pb2.FollowJobsRequest(previews=self._previews)
        backoff = self._peers.backoff()
        while True:
            if not await self._peers.answers(address, within=_READY_SECONDS):
                continue
            call = self._peers.streams(address).FollowJobs(request)
            try:
                # It comes when the process has begun to listen for us.
                await call.initial_metadata()
                await self._catch_up()
                async for message in call:
                    if message.durable:
                        backoff.reset()
                    await self._live(message)
            except grpc.aio.AioRpcError as error:
                if error.code() not in AWAY:
                    raise from_rpc_error(error) from error
                log.info("worker went away", extra={"action": "worker_away", "address": address})
            finally:
                call.cancel()
            await backoff.rest()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            await self._catch_up()

    async def _live(self, message: jobs_pb2.JobEvent) -> None:
        known = self._known.get(message.job_id)
        told = 0 if known is None else known.sequence
        if message.durable:
            if message.sequence > told + 1:
                await self._fill(message.job_id)
            self._durable(message)
        elif known is not None and message.sequence >= told and not known.ended:
            if message.HasField("progress"):
                # An attempt after a crash begins its count anew; what was told before still holds.
                known.fraction = max(known.fraction, message.progress.fraction)
                message.progress.fraction = known.fraction
            self._tell(message)

    def _durable(self, message: jobs_pb2.JobEvent) -> None:
        known = self._known.get(message.job_id)
        if known is None:
            since = message.time.ToDatetime(tzinfo=UTC)
            known = self._known[message.job_id] = _Known(sequence=0, since=since)
        if message.sequence > known.sequence:
            known.sequence = message.sequence
            known.ended = message.state in FINAL
            self._tell(message)

    async def _catch_up(self) -> None:
        """Tells what happened while nobody listened, also of jobs that began and ended then."""
        async with self._reading:
            begin = self._clock()
            jobs = {job.id: job for job in await self._candidates()}
            missed = [
                job_id
                for job_id, job in reversed(jobs.items())
                if job_id not in self._known or job.last_sequence > self._known[job_id].sequence
            ]
            # Those that were open when they were last told of, and are not any more.
            missed += [job_id for job_id, known in self._known.items() if not known.ended and job_id not in jobs]
            for job_id in missed:
                await self._fill(job_id)
            self._horizon = begin - _COMMIT_DELAY
            self._known = {
                job_id: known
                for job_id, known in self._known.items()
                if not known.ended or known.since >= self._horizon
            }

    async def _fill(self, job_id: str) -> None:
        """Tells of one job what is recorded of it and was not told."""
        known = self._known.get(job_id)
        try:
            read = partial(self._store.read_on, job_id, after=0 if known is None else known.sequence)
            job, events = await self._ask(read)
        except (NotFound, OutOfRange):
            # Deleted: nobody can ask what it was.
            self._known.pop(job_id, None)
            return
        for event in events:
            self._durable(event_message(event, job))

    async def _candidates(self) -> Sequence[Job]:
        """The jobs of which there may be news, the newest first: the open ones, and those of the last time."""
        recent = await self._list(frozenset(JobState), self._horizon)
        return [*recent, *await self._list(OPEN_STATES, datetime.min.replace(tzinfo=UTC))]

    async def _list(self, states: Collection[JobState], since: datetime) -> Sequence[Job]:
        found: list[Job] = []
        place: Place | None = None
        while True:
            page = await self._ask(partial(self._store.list, states=states, after=place, limit=_PAGE))
            found += [job for job in page if job.created_at >= since]
            if len(page) < _PAGE or page[-1].created_at < since:
                return found
            place = Place(time=page[-1].created_at, id=page[-1].id)
