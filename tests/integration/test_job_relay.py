"""The relay between real workers' streams and those who watch, whatever breaks in between."""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from milimo.v1 import jobs_pb2, worker_pb2_grpc
from milimo_runtime.channels import SERVER_OPTIONS
from milimo_runtime.database import now
from milimo_runtime.errors import NotFound, OutOfRange, Unavailable
from milimo_runtime.interceptors import CallInterceptor
from milimo_runtime.job_feed import JobFeed
from milimo_runtime.jobs import Job, JobEvent, JobKind, JobState, NewJob, Notice, Progress, Subject
from milimo_runtime.worker_service import WorkerService
from milimo_storyboard.job_relay import JobRelay
from sqlalchemy.exc import OperationalError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from milimo_runtime.job_store import JobStore
    from milimo_storyboard.inbox import Told

PATIENCE_S = 30.0
CROWD = 1_000
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Streams(WorkerService):
    """The service as it is, which can be told to misbehave."""

    def __init__(self, worker: Any) -> None:
        super().__init__(worker)
        self.calls = 0
        # So many calls to come answer INTERNAL.
        self.broken = 0
        # Calls are taken and never answered.
        self.silent = False
        self.taken = asyncio.Event()

    async def _misbehave(self, context: Any) -> None:
        self.calls += 1
        self.taken.set()
        if self.silent:
            await asyncio.Event().wait()
        if self.broken:
            self.broken -= 1
            await context.abort(grpc.StatusCode.INTERNAL, "something went wrong")

    async def FollowJob(self, request: Any, context: Any) -> AsyncGenerator[jobs_pb2.JobEvent]:
        await self._misbehave(context)
        async with contextlib.aclosing(super().FollowJob(request, context)) as events:
            async for event in events:
                yield event

    async def FollowJobs(self, request: Any, context: Any) -> AsyncGenerator[jobs_pb2.JobEvent]:
        await self._misbehave(context)
        async with contextlib.aclosing(super().FollowJobs(request, context)) as events:
            async for event in events:
                yield event


class Post:
    """A worker's door, which can be closed and opened again, and what the worker writes and tells behind it."""

    def __init__(self, store: JobStore, address: str, project: str) -> None:
        self.store = store
        self.address = address
        self.project = project
        self.feed = JobFeed(store, asyncio.get_running_loop())
        self.streams = Streams(SimpleNamespace(store=store, feed=self.feed, address=address))
        self.calls = CallInterceptor()
        self.server: Any = None

    async def open(self) -> None:
        self.server = grpc.aio.server(options=list(SERVER_OPTIONS), interceptors=[self.calls])
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(self.streams, self.server)
        self.server.add_insecure_port(self.address)
        await self.server.start()

    async def close(self) -> None:
        await self.server.stop(grace=None)
        await self.calls.settle(PATIENCE_S)

    def submit(self) -> Job:
        new = NewJob(kind=JobKind.VIDEO, subject=Subject(project_id=self.project), parameters={})
        job = self.store.submit(new, service="video", worker_address=self.address)[0]
        self.publish(*self.store.events(job.id))
        self.store.begin_attempt(job.id)
        return job

    def publish(self, *events: JobEvent) -> None:
        for event in events:
            self.feed.publish(event)

    def notice(self, job: Job) -> None:
        self.publish(self.store.append(job.id, 1, Notice(code="N", text="")))

    def progress(self, job: Job, fraction: float) -> None:
        body = Progress(stage="s", step=1, steps=2, fraction=fraction, eta_s=None)
        last = self.store.get(job.id).last_sequence
        self.publish(
            JobEvent(job_id=job.id, sequence=last, state=JobState.RUNNING, subject=job.subject, time=now(), body=body)
        )

    def finish(self, job: Job) -> None:
        self.publish(self.store.finish(job.id, 1, JobState.SUCCEEDED))


@pytest.fixture
async def post(store: JobStore, project: str, free_address: Callable[[], str]) -> AsyncIterator[Post]:
    made = Post(store, free_address(), project)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def relay(store: JobStore, post: Post) -> AsyncIterator[JobRelay]:
    opened = JobRelay(store, [post.address])
    yield opened
    await opened.close()


async def read(events: AsyncGenerator[Told], count: int | None = None) -> list[jobs_pb2.JobEvent]:
    """So many events, or all to the end, and closes the stream."""
    found: list[jobs_pb2.JobEvent] = []
    async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(events):
        async for told in events:
            found.append(told.message)
            if len(found) == count:
                break
    return found


def durable(events: list[jobs_pb2.JobEvent]) -> list[int]:
    return [event.sequence for event in events if event.durable]


async def test_a_crowd_shares_one_stream_and_leaves_nothing_behind(post: Post, relay: JobRelay) -> None:
    job = post.submit()
    tasks_before = len(asyncio.all_tasks())
    watches = [relay.watch(job.id, after=number % 2, previews=True) for number in range(CROWD)]
    for watch in watches[::2]:
        assert (await anext(watch)).message.sequence == 1
    readers = [asyncio.create_task(read(watch)) for watch in watches]
    for number in range(20):
        post.progress(job, number / 20)
        if number % 5 == 0:
            await asyncio.to_thread(post.notice, job)
        # Nobody waits for the readers: they read what is newest when they come to it.
        await asyncio.sleep(0)
    leaving, staying = readers[: CROWD // 2], readers[CROWD // 2 :]
    for reader in leaving:
        reader.cancel()
    await asyncio.wait(leaving)
    assert (post.streams.calls, relay.followed) == (1, 1)
    assert post.feed.wants_previews(job.id)

    post.finish(job)
    for number, found in enumerate(await asyncio.gather(*staying)):
        assert durable(found) == list(range(2, 7)), number
        progress = [event.progress.fraction for event in found if event.HasField("progress")]
        assert progress == sorted(progress)
    assert relay.followed == 0
    assert not post.feed.wants_previews(job.id)
    await post.calls.settle(PATIENCE_S)
    assert len(asyncio.all_tasks()) <= tasks_before

    # And a crowd of which everybody leaves before the end.
    job = post.submit()
    readers = [asyncio.create_task(read(relay.watch(job.id, after=0, previews=True))) for _ in range(CROWD)]
    await post.streams.taken.wait()
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)
    assert relay.followed == 0
    await post.calls.settle(PATIENCE_S)
    assert not post.feed.wants_previews(job.id)
    assert len(asyncio.all_tasks()) <= tasks_before


async def test_who_comes_later_catches_up_without_a_stream_of_its_own(post: Post, relay: JobRelay) -> None:
    job = post.submit()
    early = relay.watch(job.id, after=0, previews=False)
    await anext(early)
    for _ in range(3):
        post.notice(job)
    assert durable(await read(early, 3)) == [2, 3, 4]
    early = relay.watch(job.id, after=4, previews=False)
    waiting = asyncio.create_task(anext(early))
    post.progress(job, 0.5)
    assert (await waiting).message.progress.fraction == 0.5
    calls = post.streams.calls
    late = await read(relay.watch(job.id, after=1, previews=False), 4)
    assert (durable(late), late[-1].progress.fraction) == ([2, 3, 4], 0.5)
    with pytest.raises(OutOfRange):
        await read(relay.watch(job.id, after=5, previews=False))
    # Recorded by another process, which told nobody yet.
    post.store.append(job.id, 1, Notice(code="N", text=""))
    ahead = asyncio.create_task(read(relay.watch(job.id, after=5, previews=False)))
    await asyncio.sleep(0)
    post.finish(job)
    assert durable(await ahead) == [6]
    assert durable(await read(early)) == [5, 6]
    assert post.streams.calls == calls
    assert durable(await read(relay.watch(job.id, after=0, previews=False))) == [1, 2, 3, 4, 5, 6]
    assert post.streams.calls == calls, "of a job that has ended nobody needs to be asked"
    with pytest.raises(NotFound):
        await read(relay.watch("nowhere", after=0, previews=False))
    assert relay.followed == 0


@pytest.mark.parametrize("all_jobs", [False, True], ids=["WatchJob", "WatchJobs"])
async def test_a_worker_that_answers_internal_is_asked_less_and_less(
    post: Post, relay: JobRelay, all_jobs: bool
) -> None:
    job = post.submit()
    post.streams.broken = 5
    started = time.monotonic()
    if all_jobs:
        watching = asyncio.create_task(read(relay.watch_all(project_id="", previews=False), 2))
        # It watches from its first call on.
        await post.streams.taken.wait()
    else:
        watching = asyncio.create_task(read(relay.watch(job.id, after=1, previews=False)))
        await post.streams.taken.wait()
    post.notice(job)
    while post.streams.broken:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    post.finish(job)
    assert durable(await watching) == [2, 3]
    assert post.streams.calls <= 6
    # Half at least of each rest between the calls: 0.1, 0.2, 0.4 and 0.8 s.
    assert time.monotonic() - started > 0.7


async def test_jobs_that_begin_and_end_while_nobody_listens_are_told(post: Post, relay: JobRelay) -> None:
    watch = relay.watch_all(project_id=post.project, previews=False)
    begun = post.submit()
    watching = asyncio.create_task(read(watch, 3 + 2 + 3 + 2))
    await post.streams.taken.wait()
    post.notice(begun)
    post.notice(begun)
    await post.close()
    post.finish(begun)
    missed = []
    for number in range(2):
        job = post.submit()
        for _ in range(number):
            post.notice(job)
        post.finish(job)
        missed.append(job)
    await post.open()
    last = post.submit()
    post.finish(last)
    seen = await watching
    told = [durable([event for event in seen if event.job_id == job.id]) for job in (begun, *missed, last)]
    assert told == [[2, 3, 4], [1, 2], [1, 2, 3], [1, 2]]


@pytest.mark.parametrize("method", ["list", "read_on"])
async def test_a_database_that_is_away_for_a_moment_costs_no_event(
    post: Post, relay: JobRelay, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    job = post.submit()
    everything = asyncio.create_task(read(relay.watch_all(project_id="", previews=False), 2))
    # Who watches all jobs does so from the first call on.
    await post.streams.taken.wait()
    post.streams.taken.clear()
    one = asyncio.create_task(read(relay.watch(job.id, after=1, previews=False)))
    await post.streams.taken.wait()
    post.notice(job)
    real, left = getattr(post.store, method), [2]

    def away(*arguments: Any, **named: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise OperationalError("SELECT 1", None, ConnectionError("the database is away"))
        return real(*arguments, **named)

    await post.close()
    monkeypatch.setattr(post.store, method, away)
    post.finish(job)
    await post.open()
    assert (durable(await everything), durable(await one)) == ([2, 3], [2, 3])


@pytest.mark.parametrize("all_jobs", [False, True], ids=["WatchJob", "WatchJobs"])
async def test_a_database_that_stays_away_ends_the_stream_and_says_so(
    post: Post, relay: JobRelay, monkeypatch: pytest.MonkeyPatch, all_jobs: bool
) -> None:
    job = post.submit()

    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("SELECT 1", None, ConnectionError("the database is away"))

    def watch() -> AsyncGenerator[Told]:
        return (
            relay.watch_all(project_id="", previews=False) if all_jobs else relay.watch(job.id, after=1, previews=False)
        )

    watching = asyncio.create_task(read(watch()))
    await post.streams.taken.wait()
    monkeypatch.setattr(post.store, "list", away)
    monkeypatch.setattr(post.store, "read_on", away)
    await post.close()
    post.streams.taken.clear()
    await post.open()
    for each in (watching, read(watch())):
        with pytest.raises(Unavailable, match="database does not answer"):
            await each
    assert relay.followed == 0
    monkeypatch.undo()
    again = asyncio.create_task(read(watch(), 1))
    await post.streams.taken.wait()
    post.notice(job)
    assert durable(await again) == [2]


@pytest.mark.parametrize("all_jobs", [False, True], ids=["WatchJob", "WatchJobs"])
async def test_a_defect_ends_the_stream_and_says_so(
    post: Post, relay: JobRelay, monkeypatch: pytest.MonkeyPatch, all_jobs: bool
) -> None:
    job = post.submit()

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a defect")

    monkeypatch.setattr(post.store, "list" if all_jobs else "read_on", broken)
    watch = relay.watch_all(project_id="", previews=False) if all_jobs else relay.watch(job.id, after=0, previews=False)
    with pytest.raises(Unavailable, match="watch again"):
        await read(watch)
    assert relay.followed == 0


@pytest.mark.parametrize("all_jobs", [False, True], ids=["WatchJob", "WatchJobs"])
async def test_leaving_does_not_wait_for_a_worker_that_does_not_answer(
    post: Post, relay: JobRelay, all_jobs: bool
) -> None:
    job = post.submit()
    post.streams.silent = True
    watch = relay.watch_all(project_id="", previews=False) if all_jobs else relay.watch(job.id, after=1, previews=False)
    watching = asyncio.create_task(read(watch))
    await post.streams.taken.wait()
    watching.cancel()
    done, _ = await asyncio.wait([watching], timeout=5)
    assert done
    assert relay.followed == 0


async def test_an_end_between_the_records_and_the_live_stream_is_told_once(
    post: Post, relay: JobRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = post.submit()
    reading = post.store.read_on

    def then_it_ends(job_id: str, *, after: int) -> Any:
        found = reading(job_id, after=after)
        if not found[0].state.final:
            post.notice(job)
            post.finish(job)
        return found

    monkeypatch.setattr(post.store, "read_on", then_it_ends)
    assert durable(await read(relay.watch(job.id, after=0, previews=False))) == [1, 2, 3]
