"""WorkerService, and the two doors of every job: submit, and submit and watch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from milimo.v1 import worker_pb2, worker_pb2_grpc

from milimo_runtime.job_messages import event_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio
    from milimo.v1 import jobs_pb2

    from milimo_runtime.job_feed import JobFeed
    from milimo_runtime.job_store import JobStore
    from milimo_runtime.jobs import Job
    from milimo_runtime.worker import Worker


async def watch(
    store: JobStore, feed: JobFeed, job_id: str, *, after: int = 0, previews: bool = False
) -> AsyncIterator[jobs_pb2.JobEvent]:
    """The job's events as messages, until its end. Raises NotFound."""
    job = await asyncio.to_thread(store.get, job_id)
    async for event in feed.follow(job_id, after=after, previews=previews):
        yield event_message(event, job)


class WorkerService(worker_pb2_grpc.WorkerServiceServicer):
    """What a process that runs jobs tells the other processes of the mesh."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def FollowJob(
        self, request: worker_pb2.FollowJobRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[jobs_pb2.JobEvent]:
        """The events of one job, live."""
        async for event in watch(
            self._worker.store,
            self._worker.feed,
            request.job_id,
            after=request.after_sequence,
            previews=request.previews,
        ):
            yield event

    async def FollowJobs(
        self, request: worker_pb2.FollowJobsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[jobs_pb2.JobEvent]:
        """The events of all jobs of this process."""
        jobs: dict[str, Job] = {}
        async for event in self._worker.feed.follow_all(project_id=request.project_id, previews=request.previews):
            if event.job_id not in jobs:
                jobs[event.job_id] = await asyncio.to_thread(self._worker.store.get, event.job_id)
            yield event_message(event, jobs[event.job_id])
            if event.durable and event.state.final:
                del jobs[event.job_id]

    async def NotifyJob(
        self, request: worker_pb2.NotifyJobRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> worker_pb2.NotifyJobResponse:
        """Reads the job's row again."""
        await self._worker.notify(request.job_id)
        return worker_pb2.NotifyJobResponse()
