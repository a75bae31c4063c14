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
from milimo_runtime.job_messages import event_message
from milimo_runtime.statuses import from_rpc_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from milimo_runtime.job_store import JobStore

log = logging.getLogger(__name__)

# A process that dies ends its streams with one of these.
_AWAY: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL})
_NOTIFY_SECONDS: Final = 2.0
# Events of a mesh that one slow reader may fall behind before its stream ends.
_BACKLOG: Final = 10_000


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
        """Tells the process at `address` to read the job again; one that is away does so when it starts."""
        try:
            await self._stub(address).NotifyJob(worker_pb2.NotifyJobRequest(job_id=job_id), timeout=_NOTIFY_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() not in {*_AWAY, grpc.StatusCode.DEADLINE_EXCEEDED}:
                raise from_rpc_error(error) from error
            log.warning("worker is away", extra={"action": "worker_away", "address": address, "job_id": job_id})

    async def watch(self, job_id: str, *, after: int, previews: bool) -> AsyncIterator[jobs_pb2.JobEvent]:
        """The job's events after a sequence number until its end, also across restarts of the process that runs it.

        Raises:
            NotFound: there is no such job.
        """
        last, fraction = after, 0.0
        while True:
            job = await asyncio.to_thread(self._store.get, job_id)
            if job.state.final or last < job.last_sequence:
                for event in await asyncio.to_thread(self._store.events, job_id, after=last):
                    last = event.sequence
                    yield event_message(event, job)
                if job.state.final:
                    return
            try:
                request = worker_pb2.FollowJobRequest(job_id=job_id, after_sequence=last, previews=previews)
                call = self._stub(job.worker_address).FollowJob(request, wait_for_ready=True)
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

    async def watch_all(self, *, project_id: str, previews: bool) -> AsyncIterator[jobs_pb2.JobEvent]:
        """The events of all jobs of the mesh, or those of one project, from now on."""
        events: asyncio.Queue[jobs_pb2.JobEvent] = asyncio.Queue(_BACKLOG)

        async def follow(address: str) -> None:
            request = worker_pb2.FollowJobsRequest(project_id=project_id, previews=previews)
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    async for event in self._stub(address).FollowJobs(request, wait_for_ready=True):
                        await events.put(event)

        async with asyncio.TaskGroup() as tasks:
            followers = [tasks.create_task(follow(address)) for address in self._workers]
            try:
                while True:
                    yield await events.get()
            finally:
                for follower in followers:
                    follower.cancel()

    def _stub(self, address: str) -> worker_pb2_grpc.WorkerServiceAsyncStub:
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = open_channel(address)
        return worker_pb2_grpc.WorkerServiceStub(channel)
