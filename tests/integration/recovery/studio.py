"""A worker that can be killed and started again, and those who watch its jobs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from milimo.v1 import image_pb2, image_pb2_grpc, jobs_pb2
from milimo_runtime.channels import open_channel
from milimo_runtime.job_store import request_cancel
from milimo_runtime.jobs import JobEvent, JobState, StateChanged
from sqlalchemy import create_engine, text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from milimo_runtime.job_store import JobStore
    from milimo_storyboard.inbox import Told
    from milimo_storyboard.job_relay import JobRelay


PATIENCE_S = 60.0
PROGRAM = str(Path(__file__).parents[1] / "recovery_worker.py")
ONLY_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclass
class Studio:
    """A worker process that can be started again, its database, and the arbiter that it asks."""

    home: Path
    database_url: str
    arbiter: Any
    start_process: Callable[..., AbstractAsyncContextManager[Any]]
    store: JobStore
    project: str
    address: str
    version: int = 1
    retention_days: float = 30.0
    request_id_hours: float = 24.0
    executor_id: str = "local"
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    process: Any = None
    channel: Any = None

    async def start(self) -> None:
        """Starts the worker, and returns when it answers."""
        self.process = await self.stack.enter_async_context(
            self.start_process(
                PROGRAM,
                environment={
                    "MILIMO_HOME": self.home,
                    "MILIMO_DATABASE_URL": self.database_url,
                    "MILIMO_MODELS_DIR": self.home / "models",
                    "MILIMO_MODEL_FAMILY": "test",
                    "MILIMO_DEVICE": "cpu",
                    "MILIMO_ARBITER_ADDRESS": self.arbiter.address,
                    "MILIMO_IMAGE_ADDRESS": self.address,
                    "MILIMO_DRAIN_SECONDS": "10",
                    "FILM_VERSION": self.version,
                    "MILIMO_JOB_RETENTION_DAYS": self.retention_days,
                    "MILIMO_REQUEST_ID_HOURS": self.request_id_hours,
                    "MILIMO_EXECUTOR_ID": self.executor_id,
                },
            )
        )
        self.channel = open_channel(self.address)
        self.stack.push_async_callback(self.channel.close)
        async with asyncio.timeout(PATIENCE_S):
            await self.channel.channel_ready()

    async def submit(self, *steps: str, **plan: str) -> str:
        request = image_pb2.SubmitImageRequest(
            project_id=self.project, image=image_pb2.ImageParameters(prompt=json.dumps({"steps": steps, **plan}))
        )
        answer = await image_pb2_grpc.ImageServiceStub(self.channel).SubmitImage(request, timeout=PATIENCE_S)
        return answer.job.id

    def cancel(self, job_id: str, *, keep_partial: bool) -> None:
        with self.store.database.write() as session:
            request_cancel(session, job_id, keep_partial=keep_partial)

    def engine_files(self) -> Sequence[Path]:
        """Where the engine keeps its records on SQLite."""
        return sorted((self.home / "engine").glob(f"image-{self.executor_id}.sqlite*"))

    def engine_rows(self, job_id: str) -> Mapping[str, int]:
        """What the engine keeps of the job, by table."""
        url, schema = self.database_url, "dbos_image."
        if url.startswith("sqlite"):
            url, schema = f"sqlite:///{self.engine_files()[0]}", ""
        engine = create_engine(url)
        query = "SELECT count(*) FROM {}{} WHERE workflow_uuid = '{}'"
        tables = ("workflow_status", "operation_outputs", "workflow_input", "workflow_output")
        with engine.connect() as connection:
            found = {table: connection.scalar(text(query.format(schema, table, job_id))) for table in tables}
        engine.dispose()
        return {table: count for table, count in found.items() if count}

    def go(self) -> None:
        (self.home / "go").touch()

    def diary(self) -> list[str]:
        """The steps that were begun, each with the number of the attempt."""
        return (self.home / "diary").read_text().splitlines()

    async def stop(self) -> float:
        """SIGTERM; the seconds until the process has ended in good order."""
        started = time.monotonic()
        self.process.signal(signal.SIGTERM)
        assert await self.process.wait() == 0
        return time.monotonic() - started

    def quiet(self) -> None:
        """The process has told nothing that would worry anybody."""
        assert self.process.errors() == []


class Watching:
    """Reads a stream in the background."""

    def __init__(self, events: AsyncGenerator[Told]) -> None:
        self.seen: list[jobs_pb2.JobEvent] = []
        self.news = asyncio.Condition()
        self.task = asyncio.create_task(self.read(events))

    async def read(self, events: AsyncGenerator[Told]) -> None:
        async with contextlib.aclosing(events):
            async for told in events:
                async with self.news:
                    self.seen.append(told.message)
                    self.news.notify_all()

    async def until(self, holds: Callable[[jobs_pb2.JobEvent], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S), self.news:
            await self.news.wait_for(lambda: any(map(holds, self.seen)))

    async def end(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.task

    async def leave(self) -> None:
        self.task.cancel()
        done, _ = await asyncio.wait([self.task], timeout=PATIENCE_S)
        assert done, "who leaves waits for nobody"

    @property
    def sequences(self) -> list[int]:
        return [event.sequence for event in self.seen if event.durable]

    @property
    def fractions(self) -> list[float]:
        return [event.progress.fraction for event in self.seen if event.HasField("progress")]


async def held(relay: JobRelay, job_id: str) -> None:
    """Returns when the job's work waits for the test."""
    watching = watch(relay, job_id)
    await watching.until(lambda event: event.notice.code == "HELD")
    await watching.leave()


async def until(holds: Callable[[], bool]) -> None:
    """Looks again and again at what tells nobody that it changed."""
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def watch(relay: JobRelay, job_id: str, after: int = 0) -> Watching:
    return Watching(relay.watch(job_id, after=after, previews=False))


def is_running(event: jobs_pb2.JobEvent) -> bool:
    return event.state == jobs_pb2.JOB_STATE_RUNNING


def states(events: Sequence[JobEvent]) -> list[str]:
    return [
        f"{event.state.name}{event.body.reason and f' {event.body.reason}'}"
        for event in events
        if isinstance(event.body, StateChanged)
    ]


def whole(store: JobStore, job_id: str, *, end: JobState = JobState.SUCCEEDED) -> Sequence[JobEvent]:
    """The job's events, which lead from 1 without gap or repeat to its end."""
    events = store.events(job_id)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [event.state.final for event in events] == [False] * (len(events) - 1) + [True]
    assert (events[-1].state, store.get(job_id).state) == (end, end)
    return events
