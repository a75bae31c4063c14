"""WorkerService, and the two doors of every job: submit, and submit and watch."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from milimo.v1 import worker_pb2, worker_pb2_grpc

from milimo_runtime.errors import NotFound, Unavailable
from milimo_runtime.job_messages import event_message, shows_job

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import grpc.aio
    from milimo.v1 import jobs_pb2

    from milimo_runtime.job_feed import JobFeed
    from milimo_runtime.job_store import JobStore
    from milimo_runtime.worker import Worker


async def watch(
    store: JobStore, feed: JobFeed, job_id: str, *, after: int = 0, previews: bool = False
) -> AsyncGenerator[jobs_pb2.JobEvent]:
    """The job's events as messages, until its end. Raises NotFound, OutOfRange (the job has no event `after`)."""
    job = await asyncio.to_thread(store.get, job_id)
    async with contextlib.aclosing(feed.follow(job_id, after=after, previews=previews)) as events:
        async for event in events:
            yield event_message(event, job)


class WorkerService(worker_pb2_grpc.WorkerServiceServicer):
    """What a process that runs jobs tells the other processes of the mesh."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def FollowJob(
        self, request: worker_pb2.FollowJobRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[jobs_pb2.JobEvent]:
        """The events of one job, live. Raises NotFound, Unavailable (another process runs it)."""
        worker = self._worker
        job = await asyncio.to_thread(worker.store.get, request.job_id)
        if job.worker_address != worker.address:
            raise Unavailable(f"the job runs in the process at {job.worker_address}; this is {worker.address}")
        async with contextlib.aclosing(
            watch(worker.store, worker.feed, request.job_id, after=request.after_sequence, previews=request.previews)
        ) as events:
            async for event in events:
                yield event

    async def FollowJobs(
        self, request: worker_pb2.FollowJobsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[jobs_pb2.JobEvent]:
        """The events of all jobs of this process. The initial metadata comes when nothing will be missed any more."""

        async def watching() -> None:
            await context.send_initial_metadata(())

        feed, store = self._worker.feed, self._worker.store
        async with contextlib.aclosing(
            feed.follow_all(project_id=request.project_id, previews=request.previews, watching=watching)
        ) as events:
            async for event in events:
                if not shows_job(event):
                    yield event_message(event)
                    continue
                # A job that was deleted before a slow reader came to it is no loss.
                with contextlib.suppress(NotFound):
                    yield event_message(event, await asyncio.to_thread(store.get, event.job_id))

    async def NotifyJob(
        self, request: worker_pb2.NotifyJobRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> worker_pb2.NotifyJobResponse:
        """Reads the job's row again."""
        await self._worker.notify(request.job_id)
        return worker_pb2.NotifyJobResponse()
