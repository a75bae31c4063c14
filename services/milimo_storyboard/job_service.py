"""JobService: shows and steers all jobs, wherever they run."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, TypeVar

from milimo.v1 import jobs_pb2, jobs_pb2_grpc
from milimo_runtime.answered import answer_once
from milimo_runtime.job_messages import STATES, job_message
from milimo_runtime.job_store import delete_job, request_cancel
from milimo_runtime.later import later
from milimo_runtime.paging import Place, cut, page_size, place_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    import grpc.aio
    from milimo_runtime.job_store import JobStore
    from milimo_runtime.jobs import Job
    from sqlalchemy.orm import Session

    from milimo_storyboard.job_relay import JobRelay

    Context = grpc.aio.ServicerContext[Any, Any]

R = TypeVar("R")

_STATE_OF: Final = {number: state for state, number in STATES.items()}


class JobService(jobs_pb2_grpc.JobServiceServicer):
    """All jobs of the mesh."""

    def __init__(self, store: JobStore, relay: JobRelay) -> None:
        self._store = store
        self._relay = relay
        self._changes: set[asyncio.Task[Any]] = set()

    async def GetJob(self, request: jobs_pb2.GetJobRequest, context: Context) -> jobs_pb2.GetJobResponse:
        """One job."""
        return jobs_pb2.GetJobResponse(job=job_message(await asyncio.to_thread(self._store.get, request.job_id)))

    async def ListJobs(self, request: jobs_pb2.ListJobsRequest, context: Context) -> jobs_pb2.ListJobsResponse:
        """A page of jobs."""
        size = page_size(request.page_size)
        after = place_of(request.page_token)
        found = await asyncio.to_thread(
            self._store.list,
            project_id=request.project_id,
            states=[_STATE_OF[state] for state in request.states],
            after=after,
            limit=size + 1,
        )
        page, token = cut(found, size, lambda job: Place(time=job.created_at, id=job.id).token, job_message)
        return jobs_pb2.ListJobsResponse(jobs=page, next_page_token=token)

    async def WatchJob(self, request: jobs_pb2.WatchJobRequest, context: Context) -> AsyncGenerator[Any]:
        """The events of one job until its end, each serialised once for all who watch it."""
        async with contextlib.aclosing(
            self._relay.watch(request.job_id, after=request.after_sequence, previews=request.previews)
        ) as events:
            async for told in events:
                yield told.data

    async def WatchJobs(self, request: jobs_pb2.WatchJobsRequest, context: Context) -> AsyncGenerator[Any]:
        """The events of all jobs from now on, each serialised once for all who watch them."""
        async with contextlib.aclosing(
            self._relay.watch_all(project_id=request.project_id, previews=request.previews)
        ) as events:
            async for told in events:
                yield told.data

    async def CancelJob(self, request: jobs_pb2.CancelJobRequest, context: Context) -> jobs_pb2.CancelJobResponse:
        """Asks a job to end."""
        return await self._to_its_end(self._cancel(request))

    async def _cancel(self, request: jobs_pb2.CancelJobRequest) -> jobs_pb2.CancelJobResponse:
        told: list[Job] = []

        def cancel(session: Session) -> jobs_pb2.CancelJobResponse:
            job = request_cancel(session, request.job_id, keep_partial=request.keep_partial)
            told.append(job)
            return jobs_pb2.CancelJobResponse(job=job_message(job))

        response = await asyncio.to_thread(
            answer_once, self._store.database, request, jobs_pb2.CancelJobResponse, cancel
        )
        for job in told:
            if not job.state.final:
                await self._relay.notify(job.worker_address, job.id)
        return response

    async def RetryJob(self, request: jobs_pb2.RetryJobRequest, context: Context) -> jobs_pb2.RetryJobResponse:
        """A new job with the same request."""
        return jobs_pb2.RetryJobResponse(
            job=job_message(await self._to_its_end(self._retry(request.job_id, request_id=request.request_id)))
        )

    async def _retry(self, job_id: str, *, request_id: str) -> Job:
        job, created = await asyncio.to_thread(self._store.retry, job_id, request_id=request_id)
        if created:
            await self._relay.notify(job.worker_address, job.id)
        return job

    async def _to_its_end(self, change: Coroutine[None, None, R]) -> R:
        """Makes a change also when the caller goes away meanwhile: what was recorded must be told to the worker."""
        task = asyncio.create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def DeleteJob(self, request: jobs_pb2.DeleteJobRequest, context: Context) -> jobs_pb2.DeleteJobResponse:
        """Removes an ended job."""
        return await self._to_its_end(self._delete(request))

    async def _delete(self, request: jobs_pb2.DeleteJobRequest) -> jobs_pb2.DeleteJobResponse:
        deleted: list[Job] = []

        def delete(session: Session) -> jobs_pb2.DeleteJobResponse:
            deleted.append(delete_job(session, request.job_id))
            return jobs_pb2.DeleteJobResponse()

        response = await asyncio.to_thread(
            answer_once, self._store.database, request, jobs_pb2.DeleteJobResponse, delete
        )
        for job in deleted:
            # Its process forgets how it ran; one that is away collects that later.
            await self._relay.notify(job.worker_address, job.id)
        return response

    UpdateJob = later("changing the priority of a job that waits")
    PauseQueue = later("pausing the queue")
    ResumeQueue = later("resuming the queue")
