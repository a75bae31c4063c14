"""JobService: shows and steers all jobs, wherever they run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from milimo.v1 import jobs_pb2, jobs_pb2_grpc
from milimo_runtime.job_messages import STATES, job_message
from milimo_runtime.later import later
from milimo_runtime.paging import cut, page_size

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio
    from milimo_runtime.job_store import JobStore

    from milimo_storyboard.job_relay import JobRelay

    Context = grpc.aio.ServicerContext[Any, Any]

_STATE_OF: Final = {number: state for state, number in STATES.items()}


class JobService(jobs_pb2_grpc.JobServiceServicer):
    """All jobs of the mesh."""

    def __init__(self, store: JobStore, relay: JobRelay) -> None:
        self._store = store
        self._relay = relay

    async def GetJob(self, request: jobs_pb2.GetJobRequest, context: Context) -> jobs_pb2.GetJobResponse:
        """One job."""
        return jobs_pb2.GetJobResponse(job=job_message(await asyncio.to_thread(self._store.get, request.job_id)))

    async def ListJobs(self, request: jobs_pb2.ListJobsRequest, context: Context) -> jobs_pb2.ListJobsResponse:
        """A page of jobs."""
        size = page_size(request.page_size)
        found = await asyncio.to_thread(
            self._store.list,
            project_id=request.project_id,
            states=[_STATE_OF[state] for state in request.states],
            before=request.page_token,
            limit=size + 1,
        )
        page, token = cut(found, size, lambda job: job.id)
        return jobs_pb2.ListJobsResponse(jobs=map(job_message, page), next_page_token=token)

    async def WatchJob(self, request: jobs_pb2.WatchJobRequest, context: Context) -> AsyncIterator[jobs_pb2.JobEvent]:
        """The events of one job until its end."""
        async for event in self._relay.watch(request.job_id, after=request.after_sequence, previews=request.previews):
            yield event

    async def WatchJobs(self, request: jobs_pb2.WatchJobsRequest, context: Context) -> AsyncIterator[jobs_pb2.JobEvent]:
        """The events of all jobs from now on."""
        async for event in self._relay.watch_all(project_id=request.project_id, previews=request.previews):
            yield event

    async def CancelJob(self, request: jobs_pb2.CancelJobRequest, context: Context) -> jobs_pb2.CancelJobResponse:
        """Asks a job to end."""
        job = await asyncio.to_thread(self._store.request_cancel, request.job_id, keep_partial=request.keep_partial)
        if not job.state.final:
            await self._relay.notify(job.worker_address, job.id)
            job = await asyncio.to_thread(self._store.get, job.id)
        return jobs_pb2.CancelJobResponse(job=job_message(job))

    async def RetryJob(self, request: jobs_pb2.RetryJobRequest, context: Context) -> jobs_pb2.RetryJobResponse:
        """A new job with the same request."""
        job, created = await asyncio.to_thread(self._store.retry, request.job_id, request_id=request.request_id)
        if created:
            await self._relay.notify(job.worker_address, job.id)
        return jobs_pb2.RetryJobResponse(job=job_message(job))

    async def DeleteJob(self, request: jobs_pb2.DeleteJobRequest, context: Context) -> jobs_pb2.DeleteJobResponse:
        """Removes an ended job."""
        await asyncio.to_thread(self._store.delete, request.job_id)
        return jobs_pb2.DeleteJobResponse()

    UpdateJob = later("changing the priority of a job that waits")
    PauseQueue = later("pausing the queue")
    ResumeQueue = later("resuming the queue")
