"""Follows jobs wherever they run: the live stream of their process, and the database while that process is away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio
from milimo.v1 import jobs_pb2, worker_pb2, worker_pb2_grpc
from milimo_runtime.channels import open_channel
from milimo_runtime.errors import NotFound, OutOfRange
from milimo_runtime.job_messages import STATES, event_message
from milimo_runtime.jobs import FINAL_STATES, OPEN_STATES
from milimo_runtime.statuses import from_rpc_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from milimo_runtime.job_store import JobStore

log = logging.getLogger(__name__)

# A process that dies ends its streams with one of these.
_AWAY: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL})
_NOTIFY_SECONDS: Final = 2.0
# How long to wait for a process that is away before the job's row is read again, and to rest before it is called again.
_READY_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.1
# Events of a mesh that one slow reader may fall behind before the workers' streams wait for it.
_BACKLOG: Final = 10_000
# Open jobs that are looked for when a worker came back.
_OPEN: Final = 10_000
_FINAL: Final = frozenset(STATES[state] for state in FINAL_STATES)


class JobRelay:
    """Reads job events for clients of this process."""

    def __init__(self, store: JobStore, workers: Sequence[str]) -> None:
        """`workers` are the addresses of the processes that run jobs."""
        self._store = store
        self._workers = tuple(workers)
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def close(self) -> None:
        """Closes the channels."""
        for channel in self._channels.values():
            await channel.close()

    async def notify(self, address: str, job_id: str) -> None:
        """Tells the process at `address` to read the job again; one that is away or slow does so by itself, later."""
        try:
            await self._stub(address).NotifyJob(worker_pb2.NotifyJobRequest(job_id=job_id), timeout=_NOTIFY_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() not in {*_AWAY, grpc.StatusCode.DEADLINE_EXCEEDED}:
                raise from_rpc_error(error) from error
            log.warning("worker is away", extra={"action": "worker_away", "address": address, "job_id": job_id})

    async def watch(self, job_id: str, *, after: int, previews: bool) -> AsyncGenerator[jobs_pb2.JobEvent]:
        """The job's events after a sequence number until its end, also across restarts of the process that runs it.

        Raises:
            NotFound: there is no such job.
            OutOfRange: the job has no event `after`.
        """
        last, fraction = after, 0.0
        while True:
            job, events = await asyncio.to_thread(self._store.read_on, job_id, after=last)
            for event in events:
                last = event.sequence
                yield event_message(event, job)
            if job.state.final:
                return
            if not await self._answers(job.worker_address):
                # It may come back at another address, which the job's row tells then.
                continue
            request = worker_pb2.FollowJobRequest(job_id=job_id, after_sequence=last, previews=previews)
            call = self._stub(job.worker_address).FollowJob(request)
            try:
                async for message in call:
                    if message.durable:
                        if message.sequence <= last:
                            continue
                        last = message.sequence
                    elif message.HasField("progress"):
                        # An attempt after a crash begins its count anew; what was told before still holds.
                        fraction = max(fraction, message.progress.fraction)
                        message.progress.fraction = fraction
                    yield message
            except grpc.aio.AioRpcError as error:
                if error.code() not in _AWAY:
                    raise from_rpc_error(error) from error
                log.info("worker went away", extra={"action": "worker_away", "job_id": job_id})
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                call.cancel()

    async def watch_all(self, *, project_id: str, previews: bool) -> AsyncGenerator[jobs_pb2.JobEvent]:
        """The events of all jobs of the mesh, or those of one project, from now on.

        While the process that runs a job is restarted, the job's durable events come from the database.
        """
        events: asyncio.Queue[jobs_pb2.JobEvent] = asyncio.Queue(_BACKLOG)
        open_jobs = await asyncio.to_thread(self._store.list, project_id=project_id, states=OPEN_STATES, limit=_OPEN)
        told = {job.id: job.last_sequence for job in open_jobs}

        async def tell(message: jobs_pb2.JobEvent) -> None:
            if message.durable:
                if message.sequence <= told.get(message.job_id, 0):
                    return
                told[message.job_id] = message.sequence
                if message.state in _FINAL:
                    ended.add(message.job_id)
            await events.put(message)

        ended: set[str] = set()

        async def catch_up() -> None:
            """What happened while nobody listened."""
            fresh = await asyncio.to_thread(self._store.list, project_id=project_id, states=OPEN_STATES, limit=_OPEN)
            for job_id in {*told, *(job.id for job in fresh)} - ended:
                with contextlib.suppress(NotFound, OutOfRange):
                    job, missed = await asyncio.to_thread(self._store.read_on, job_id, after=told.get(job_id, 0))
                    for event in missed:
                        await tell(event_message(event, job))

        async def follow(address: str) -> None:
            request = worker_pb2.FollowJobsRequest(project_id=project_id, previews=previews)
            while True:
                if not await self._answers(address):
                    continue
                call = self._stub(address).FollowJobs(request)
                try:
                    # It comes when the worker has begun to listen for us.
                    await call.initial_metadata()
                    await catch_up()
                    async for message in call:
                        await tell(message)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in _AWAY:
                        raise from_rpc_error(error) from error
                    log.info("worker went away", extra={"action": "worker_away", "address": address})
                    await asyncio.sleep(_RETRY_SECONDS)
                finally:
                    call.cancel()

        async def listen() -> jobs_pb2.JobEvent:
            """The next event; or what a follower, who ends for no other reason, has met."""
            news = asyncio.create_task(events.get())
            try:
                await asyncio.wait((news, *followers), return_when=asyncio.FIRST_COMPLETED)
                for follower in followers:
                    if follower.done():
                        follower.result()
                return await news
            finally:
                news.cancel()

        followers = [asyncio.create_task(follow(address)) for address in self._workers]
        try:
            while True:
                yield await listen()
        finally:
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, return_exceptions=True)

    async def _answers(self, address: str) -> bool:
        """Whether a process listens at the address; waits a while for one."""
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self._channel(address).channel_ready()
        except TimeoutError:
            return False
        return True

    def _channel(self, address: str) -> grpc.aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = open_channel(address)
        return channel

    def _stub(self, address: str) -> worker_pb2_grpc.WorkerServiceAsyncStub:
        return worker_pb2_grpc.WorkerServiceStub(self._channel(address))
