"""A worker that is killed, stopped, restarted and cancelled: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from milimo.v1 import image_pb2, image_pb2_grpc, jobs_pb2, worker_pb2, worker_pb2_grpc
from milimo_runtime.channels import open_channel
from milimo_runtime.job_store import JobStore
from milimo_runtime.jobs import JobEvent, JobState, StateChanged
from milimo_runtime.lease import acquire
from milimo_runtime.lease_terms import Claim, Grade
from milimo_runtime.process_lock import AlreadyRuns, process_lock
from milimo_runtime.registry import ModelFootprint, write_manifest
from milimo_storyboard.job_relay import JobRelay

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from milimo_runtime.database import Database

PATIENCE_S = 60.0
PROGRAM = str(Path(__file__).with_name("recovery_worker.py"))
FOOTPRINT = 600
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


@pytest.fixture
async def studio(
    tmp_path: Path,
    database_url: str,
    database: Database,
    project: str,
    arbiter_process: Callable[[], AbstractAsyncContextManager[Any]],
    service_process: Callable[..., AbstractAsyncContextManager[Any]],
    free_address: Callable[[], str],
) -> AsyncIterator[Studio]:
    home = tmp_path / "home"
    model = home / "models/test/film"
    model.mkdir(parents=True)
    manifest = {
        "name": "film",
        "family": "test",
        "purpose": "image",
        "checkpoint": "",
        "license": "",
        "note": "",
        "advice": "",
    }
    write_manifest(model, manifest, footprints=[ModelFootprint(name="float32", bytes=FOOTPRINT)])
    async with arbiter_process() as arbiter:
        made = Studio(
            home=home,
            database_url=database_url,
            arbiter=arbiter,
            start_process=service_process,
            store=JobStore(database),
            project=project,
            address=free_address(),
        )
        async with made.stack:
            await made.start()
            yield made


@pytest.fixture
async def relay(studio: Studio) -> AsyncIterator[JobRelay]:
    opened = JobRelay(studio.store, [studio.address])
    yield opened
    await opened.close()


class Watching:
    """Reads a stream in the background."""

    def __init__(self, events: AsyncGenerator[jobs_pb2.JobEvent]) -> None:
        self.seen: list[jobs_pb2.JobEvent] = []
        self.news = asyncio.Condition()
        self.task = asyncio.create_task(self.read(events))

    async def read(self, events: AsyncGenerator[jobs_pb2.JobEvent]) -> None:
        async with contextlib.aclosing(events):
            async for event in events:
                async with self.news:
                    self.seen.append(event)
                    self.news.notify_all()

    async def until(self, holds: Callable[[jobs_pb2.JobEvent], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S), self.news:
            await self.news.wait_for(lambda: any(map(holds, self.seen)))

    async def end(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.task

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

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


async def test_a_killed_worker_goes_on_at_the_first_step_that_was_not_recorded(
    studio: Studio, relay: JobRelay, free_address: Callable[[], str]
) -> None:
    job_id = await studio.submit("one", "two", "three", hold="two")
    watching = watch(relay, job_id)
    await held(relay, job_id)
    late = watch(relay, job_id, after=2)
    await watching.until(lambda event: event.progress.stage == "two")
    await studio.process.kill()
    assert studio.store.get(job_id).state is JobState.RUNNING
    # It comes back elsewhere: those who watch follow it.
    studio.address = free_address()
    studio.go()
    await studio.start()
    await watching.end()
    await late.end()

    events = whole(studio.store, job_id)
    assert studio.diary() == ["one 1", "two 1", "two 2", "three 2"]
    assert sum(state == "QUEUED RECOVERED" for state in states(events)) == 1
    job = studio.store.get(job_id)
    assert (job.attempt, [asset.artefact for asset in job.assets]) == (2, ["one", "two", "three"])
    assert job.worker_address == studio.address
    assert watching.sequences == list(range(1, len(events) + 1))
    assert late.sequences == list(range(3, len(events) + 1))
    assert all(earlier <= later for earlier, later in itertools.pairwise(watching.fractions))
    assert job.fraction == 1.0

    await studio.stop()
    studio.quiet()
    await studio.arbiter.until(lambda status: not status.leases and not status.queue)


async def test_a_result_that_was_stored_before_the_crash_is_stored_once(studio: Studio, relay: JobRelay) -> None:
    job_id = await studio.submit("one", hold="one committed")
    await held(relay, job_id)
    await studio.process.kill()
    [stored] = studio.store.get(job_id).assets
    studio.go()
    await studio.start()
    await watch(relay, job_id).end()
    events = whole(studio.store, job_id)
    assert [event.body.kind for event in events].count("artefact_committed") == 1
    assert list(studio.store.get(job_id).assets) == [stored]
    files = [path.relative_to(studio.home / "media").as_posix() for path in (studio.home / "media").rglob("*.png")]
    assert files == [stored.key]


async def test_cancelling_while_it_waits_and_while_it_runs(studio: Studio, relay: JobRelay) -> None:
    running = await studio.submit("one", hold="one")
    await held(relay, running)
    waiting = await studio.submit("one")
    watching = {job_id: watch(relay, job_id) for job_id in (running, waiting)}
    await watching[waiting].until(lambda event: event.HasField("queue_position"))
    for job_id in (waiting, running):
        started = time.monotonic()
        studio.store.request_cancel(job_id, keep_partial=False)
        await relay.notify(studio.address, job_id)
        await watching[job_id].end()
        assert time.monotonic() - started < 3
        whole(studio.store, job_id, end=JobState.CANCELLED)
        assert studio.store.get(job_id).assets == ()
    assert studio.diary() == ["one 1"]

    # What was stored before goes, unless it is to be kept.
    for keep in (False, True):
        partly = await studio.submit("one", "two", hold="two")
        await held(relay, partly)
        [stored] = studio.store.get(partly).assets
        studio.store.request_cancel(partly, keep_partial=keep)
        await relay.notify(studio.address, partly)
        await watch(relay, partly).end()
        whole(studio.store, partly, end=JobState.CANCELLED)
        assert list(studio.store.get(partly).assets) == ([stored] if keep else [])
        assert (studio.home / "media" / stored.key).exists() is keep

    # And in the arbiter's queue, behind somebody else's memory.
    await studio.arbiter.until(lambda status: all(not lease.job_id for lease in status.leases))
    other = await acquire(
        studio.arbiter.channel,
        Claim(tenant="video", grades=(Grade(name="whole", bytes=900),), job_id="film"),
        on_queued=lambda _: None,
        measure=lambda: 900,
        on_change=lambda: None,
    )
    await other.busy("film", 0)
    queued = await studio.submit("one")
    await studio.arbiter.until(lambda status: any(entry.tenant == "image" for entry in status.queue))
    studio.store.request_cancel(queued, keep_partial=False)
    await relay.notify(studio.address, queued)
    await watch(relay, queued).end()
    whole(studio.store, queued, end=JobState.CANCELLED)
    await studio.arbiter.until(lambda status: not status.queue)
    await other.release()
    await studio.stop()
    studio.quiet()


@ONLY_SQLITE
async def test_a_stopped_worker_leaves_its_job_for_the_next(studio: Studio, relay: JobRelay) -> None:
    stub = image_pb2_grpc.ImageServiceStub(studio.channel)
    prompt = json.dumps({"steps": ["one"], "hold": "one"})
    generating = stub.GenerateImage(
        image_pb2.GenerateImageRequest(project_id=studio.project, image=image_pb2.ImageParameters(prompt=prompt))
    )
    first = await generating.read()
    job_id = first.job_id
    await held(relay, job_id)
    waiting = await studio.submit("one")
    following = worker_pb2_grpc.WorkerServiceStub(studio.channel).FollowJobs(worker_pb2.FollowJobsRequest())
    await following.initial_metadata()
    watching = watch(relay, job_id)
    await watching.until(is_running)

    assert await studio.stop() < 10
    studio.quiet()
    for call in (generating, following):
        with pytest.raises(grpc.aio.AioRpcError):
            async for _ in call:
                pass
    assert not studio.store.get(job_id).state.final
    await studio.arbiter.until(lambda status: not status.leases and not status.queue)
    # One that was cancelled meanwhile ends without having begun.
    studio.store.request_cancel(waiting, keep_partial=False)

    studio.go()
    await studio.start()
    await watching.end()
    await watch(relay, waiting).end()
    assert watching.sequences == [event.sequence for event in whole(studio.store, job_id)]
    whole(studio.store, waiting, end=JobState.CANCELLED)
    assert studio.diary() == ["one 1", "one 2"]


@ONLY_SQLITE
async def test_ended_jobs_are_collected_when_their_time_has_come(studio: Studio, relay: JobRelay) -> None:
    old, held_back = await studio.submit("one"), await studio.submit("two", hold="two")
    await watch(relay, old).end()
    await held(relay, held_back)
    await studio.stop()
    studio.retention_days = 1e-9
    await studio.start()
    async with asyncio.timeout(PATIENCE_S):
        # Rows that go tell nobody.
        while old in {job.id for job in await asyncio.to_thread(studio.store.list, limit=10)}:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert [job.id for job in studio.store.list(limit=10)] == [held_back], "a job that has not ended stays"
    studio.go()


async def test_a_job_outlasts_a_database_that_is_away_for_a_while(studio: Studio, relay: JobRelay) -> None:
    job_id = await studio.submit("one", "two", away="two")
    watching = watch(relay, job_id)
    await watching.end()
    events = whole(studio.store, job_id)
    assert watching.sequences == [event.sequence for event in events]
    assert studio.diary() == ["one 1", "two 1", "two 2"], "the step that was recorded is not done again"


async def test_a_second_process_of_a_service_is_refused_before_it_touches_anything(
    studio: Studio, relay: JobRelay, free_address: Callable[[], str]
) -> None:
    job_id = await studio.submit("one", hold="one")
    await held(relay, job_id)
    with pytest.raises(AlreadyRuns, match="image-local runs in"), process_lock(studio.home, "image-local"):
        pass
    studio.go()
    await watch(relay, job_id).end()
    assert studio.diary() == ["one 1"]
    whole(studio.store, job_id)


async def test_jobs_that_nobody_goes_on_with_end(studio: Studio, relay: JobRelay) -> None:
    """Jobs of another version, jobs whose work goes wrong, and jobs of which the worker was not told."""
    outdated = await studio.submit("one", hold="one")
    await held(relay, outdated)
    await studio.process.kill()
    studio.go()
    studio.version = 2
    await studio.start()
    await watch(relay, outdated).end()
    whole(studio.store, outdated, end=JobState.FAILED)
    failure = studio.store.get(outdated).failure
    assert failure is not None
    assert failure.details[0]["reason"] == "UPGRADED"

    broken = await studio.submit("one", fail="one")
    await watch(relay, broken).end()
    whole(studio.store, broken, end=JobState.FAILED)
    failure = studio.store.get(broken).failure
    assert failure is not None
    assert failure.code == grpc.StatusCode.INTERNAL.value[0]
    assert "went wrong" not in str(failure)

    retried, _ = studio.store.retry(outdated, request_id="")
    watching = watch(relay, retried.id)
    await watching.end()
    assert watching.sequences == [event.sequence for event in whole(studio.store, retried.id)]


@ONLY_SQLITE
async def test_who_watches_all_jobs_misses_no_event_of_a_restart(studio: Studio, relay: JobRelay) -> None:
    everything = Watching(relay.watch_all(project_id="", previews=False))
    while not everything.seen:
        # From when on it watches shows only in what it sees.
        await watch(relay, await studio.submit("one")).end()
    first = await studio.submit("one", hold="one")
    await held(relay, first)
    await everything.until(lambda event: event.job_id == first and is_running(event))
    await studio.process.kill()
    studio.go()
    await studio.start()
    await everything.until(lambda event: event.job_id == first and event.state == jobs_pb2.JOB_STATE_SUCCEEDED)
    second = await studio.submit("one")
    await everything.until(lambda event: event.job_id == second and event.state == jobs_pb2.JOB_STATE_SUCCEEDED)
    await everything.leave()
    for job_id in (first, second):
        told = [event.sequence for event in everything.seen if event.durable and event.job_id == job_id]
        assert told == [event.sequence for event in whole(studio.store, job_id)]
