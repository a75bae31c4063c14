"""Following a job to its end, over as many connections as that takes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import grpc

from milimo.cursor import JobCursor, Patience
from milimo.errors import MilimoError
from milimo.v1 import jobs_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from milimo.v1.jobs_pb2_grpc import JobServiceAsyncStub, JobServiceStub


class JobWatch:
    """The events of a job. Iterate once; a job that fails ends the iteration, it raises nothing.

    A dropped stream is taken up again after the last durable event that came, so that none is missed or seen twice.
    Progress, queue positions and previews are passed on as they come. Closing the iteration leaves the job running.
    """

    def __init__(
        self,
        jobs: JobServiceStub,
        job_id: str,
        *,
        after_sequence: int = 0,
        previews: bool = False,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._jobs = jobs
        self._cursor = JobCursor(job_id, after_sequence)
        self._previews = previews
        self._patience = patience or Patience()
        self._sleep = sleep
        self._events = self._follow()

    @property
    def sequence(self) -> int:
        """Sequence of the latest durable event that came; a later watch may begin there."""
        return self._cursor.sequence

    def __iter__(self) -> Iterator[jobs_pb2.JobEvent]:
        return self._events

    def result(self) -> jobs_pb2.Job:
        """Waits for the job's end and answers with the job, whatever became of it.

        Raises:
            MilimoError: NOT_FOUND when there is no such job; UNAVAILABLE when nobody answers for too long.
        """
        for _ in self._events:
            pass
        pauses = self._patience.pauses()
        while True:
            try:
                return self._job()
            except MilimoError as error:
                self._pause(pauses, error)

    def _job(self) -> jobs_pb2.Job:
        return self._jobs.GetJob(jobs_pb2.GetJobRequest(job_id=self._cursor.job_id)).job

    def _pause(self, pauses: Iterator[float], error: MilimoError) -> None:
        pause = next(pauses, None) if error.is_transient else None
        if pause is None:
            raise error
        self._sleep(pause)

    def _follow(self) -> Iterator[jobs_pb2.JobEvent]:
        cursor = self._cursor
        pauses = self._patience.pauses()
        while not cursor.ended:
            stream = self._jobs.WatchJob(cursor.request(previews=self._previews))
            try:
                for event in stream:
                    if cursor.accept(event):
                        pauses = self._patience.pauses()
                        yield event
                    if cursor.ended:
                        return
                # The stream ended before the job: either nothing was left to say, or a server shut down in good order.
                if cursor.is_complete(self._job()):
                    return
                self._pause(pauses, _cut_short(cursor.job_id))
            except MilimoError as error:
                self._pause(pauses, error)
            finally:
                stream.cancel()


class AsyncJobWatch:
    """The asyncio twin of JobWatch."""

    def __init__(
        self,
        jobs: JobServiceAsyncStub,
        job_id: str,
        *,
        after_sequence: int = 0,
        previews: bool = False,
        patience: Patience | None = None,
        sleep: Callable[[float], Coroutine[None, None, None]] = asyncio.sleep,
    ) -> None:
        self._jobs = jobs
        self._cursor = JobCursor(job_id, after_sequence)
        self._previews = previews
        self._patience = patience or Patience()
        self._sleep = sleep
        self._events = self._follow()

    @property
    def sequence(self) -> int:
        """Sequence of the latest durable event that came; a later watch may begin there."""
        return self._cursor.sequence

    def __aiter__(self) -> AsyncIterator[jobs_pb2.JobEvent]:
        return self._events

    async def result(self) -> jobs_pb2.Job:
        """Waits for the job's end and answers with the job, whatever became of it.

        Raises:
            MilimoError: NOT_FOUND when there is no such job; UNAVAILABLE when nobody answers for too long.
        """
        async for _ in self._events:
            pass
        pauses = self._patience.pauses()
        while True:
            try:
                return await self._job()
            except MilimoError as error:
                await self._pause(pauses, error)

    async def _job(self) -> jobs_pb2.Job:
        return (await self._jobs.GetJob(jobs_pb2.GetJobRequest(job_id=self._cursor.job_id))).job

    async def _pause(self, pauses: Iterator[float], error: MilimoError) -> None:
        pause = next(pauses, None) if error.is_transient else None
        if pause is None:
            raise error
        await self._sleep(pause)

    async def _follow(self) -> AsyncIterator[jobs_pb2.JobEvent]:
        cursor = self._cursor
        pauses = self._patience.pauses()
        while not cursor.ended:
            stream = self._jobs.WatchJob(cursor.request(previews=self._previews))
            try:
                async for event in stream:
                    if cursor.accept(event):
                        pauses = self._patience.pauses()
                        yield event
                    if cursor.ended:
                        return
                if cursor.is_complete(await self._job()):
                    return
                await self._pause(pauses, _cut_short(cursor.job_id))
            except MilimoError as error:
                await self._pause(pauses, error)
            finally:
                stream.cancel()


def _cut_short(job_id: str) -> MilimoError:
    return MilimoError(grpc.StatusCode.UNAVAILABLE, f"the stream of job {job_id} ended before the job")
