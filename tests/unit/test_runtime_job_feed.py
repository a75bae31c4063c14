"""Watching jobs: the same events for everybody, none missing, none twice, whatever else goes on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest
from milimo_runtime.database import now
from milimo_runtime.errors import NotFound, OutOfRange
from milimo_runtime.job_feed import JobFeed
from milimo_runtime.jobs import (
    Job,
    JobEvent,
    JobKind,
    JobState,
    NewJob,
    Notice,
    Preview,
    Progress,
    QueuePosition,
    Subject,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from milimo_runtime.job_store import JobStore

PATIENCE_S = 20.0


class Writer:
    """Does to a job what its process does, and publishes it, or not as another process would."""

    def __init__(self, store: JobStore, feed: JobFeed, project: str) -> None:
        self.store = store
        self.feed = feed
        new = NewJob(kind=JobKind.VIDEO, subject=Subject(project_id=project), parameters={})
        self.job: Job = store.submit(new, service="video", worker_address="")[0]
        store.begin_attempt(self.job.id)

    def notice(self, text: str = "", *, publish: bool = True) -> JobEvent:
        event = self.store.append(self.job.id, 1, Notice(code="N", text=text))
        if publish:
            self.feed.publish(event)
        return event

    def end(self, *, publish: bool = True) -> None:
        event = self.store.finish(self.job.id, 1, JobState.SUCCEEDED)
        if publish:
            self.feed.publish(event)

    def mention(self, body: Progress | QueuePosition | Preview, sequence: int = 1) -> None:
        self.feed.publish(
            JobEvent(
                job_id=self.job.id,
                sequence=sequence,
                state=JobState.RUNNING,
                subject=self.job.subject,
                time=now(),
                body=body,
            )
        )

    def progress(self, fraction: float, sequence: int = 1) -> None:
        self.mention(Progress(stage="s", step=1, steps=1, fraction=fraction, eta_s=None), sequence)


@pytest.fixture
async def writer(store: JobStore, project: str) -> Writer:
    return Writer(store, JobFeed(store, asyncio.get_running_loop()), project)


async def read(events: AsyncGenerator[JobEvent], count: int | None = None) -> list[JobEvent]:
    """So many events, or all to the end, and closes the stream."""
    async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(events):
        found = []
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
        return found


def durable(events: list[JobEvent]) -> list[int]:
    return [event.sequence for event in events if event.durable]


async def test_all_watchers_see_the_same(writer: Writer) -> None:
    streams = [writer.feed.follow(writer.job.id) for _ in range(2)]
    readers = [asyncio.create_task(read(stream)) for stream in streams]
    for number in range(5):
        await asyncio.to_thread(writer.notice, str(number))
    await asyncio.to_thread(writer.end)
    first, second = await asyncio.gather(*readers)
    assert first == second
    assert durable(first) == list(range(1, 8))
    assert await read(writer.feed.follow(writer.job.id)) == first


@pytest.mark.parametrize("after", range(7))
async def test_a_watch_goes_on_after_any_event(writer: Writer, after: int) -> None:
    for _ in range(3):
        writer.notice()
    middle = asyncio.create_task(read(writer.feed.follow(writer.job.id, after=min(after, 4))))
    writer.notice()
    writer.end()
    assert durable(await middle) == list(range(min(after, 4) + 1, 7))
    assert durable(await read(writer.feed.follow(writer.job.id, after=after))) == list(range(after + 1, 7))


async def test_a_watch_that_is_ahead_of_the_job_is_refused(writer: Writer) -> None:
    with pytest.raises(OutOfRange):
        await read(writer.feed.follow(writer.job.id, after=2))
    with pytest.raises(NotFound):
        await read(writer.feed.follow("nowhere"))


async def test_a_slow_reader_gets_the_latest_progress_and_every_durable_event(writer: Writer) -> None:
    stream = writer.feed.follow(writer.job.id)
    assert (await anext(stream)).sequence == 1
    for number in range(100):
        writer.progress(number / 100)
    # It has not read yet; each round is in the queue of the loop by now.
    await asyncio.sleep(0)
    assert [event.body for event in await read(stream, 1)] == [
        Progress(stage="s", step=1, steps=1, fraction=0.99, eta_s=None)
    ]

    stream = writer.feed.follow(writer.job.id, after=1)
    pending = asyncio.create_task(anext(stream))
    writer.progress(0.99)
    assert not (await pending).durable
    for number in range(50):
        writer.notice(str(number))
        writer.progress(number / 50, sequence=number + 2)
    writer.end()
    assert durable(await read(stream)) == list(range(2, 53))


async def test_who_comes_later_sees_how_far_the_job_is(writer: Writer) -> None:
    writer.progress(0.25)
    writer.progress(0.5)
    await asyncio.sleep(0)
    events = await read(writer.feed.follow(writer.job.id), 2)
    assert [event.body.kind for event in events] == ["accepted", "progress"]
    assert isinstance(events[1].body, Progress)
    assert events[1].body.fraction == 0.5


async def test_what_was_told_of_a_state_is_stale_in_the_next(writer: Writer) -> None:
    stream = writer.feed.follow(writer.job.id, after=1)
    first = asyncio.create_task(anext(stream))
    writer.progress(0.1)
    await first
    writer.mention(QueuePosition(position=3, eta_s=None, reason="busy"))
    event = writer.notice()
    writer.progress(0.2, sequence=event.sequence)
    found = await read(stream, 2)
    assert [event.body.kind for event in found] == ["notice", "progress"]


async def test_previews_come_to_those_who_asked(writer: Writer) -> None:
    assert not writer.feed.wants_previews(writer.job.id)
    with_previews = writer.feed.follow(writer.job.id, previews=True)
    without = writer.feed.follow(writer.job.id)
    assert {(await anext(with_previews)).sequence, (await anext(without)).sequence} == {1}
    seeing, plain = asyncio.create_task(read(with_previews, 1)), asyncio.create_task(read(without))
    assert writer.feed.wants_previews(writer.job.id)
    assert not writer.feed.wants_previews("another")
    writer.mention(Preview(image=b"jpeg", width=8, height=8))
    assert [event.body.kind for event in await seeing] == ["preview"]
    writer.end()
    assert [event.body.kind for event in await plain] == ["state_changed"]
    assert not writer.feed.wants_previews(writer.job.id)


async def test_events_that_another_process_wrote_are_read(writer: Writer) -> None:
    stream = writer.feed.follow(writer.job.id)
    await anext(stream)
    pending = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    writer.notice("here")
    assert (await pending).sequence == 2
    for number in range(3):
        writer.notice(str(number), publish=False)
    writer.notice("here")
    writer.end(publish=False)
    # Repeated, and out of order.
    for event in reversed(writer.store.events(writer.job.id)):
        writer.feed.publish(event)
    assert durable(await read(stream)) == [3, 4, 5, 6, 7]


async def test_an_end_between_reading_and_listening_is_not_missed(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens while the old events are read, the watcher sees the end."""
    reading = writer.store.read_on

    def slow(job_id: str, *, after: int) -> Any:
        found = reading(job_id, after=after)
        if not found[0].state.final:
            writer.end()
        return found

    monkeypatch.setattr(writer.store, "read_on", slow)
    assert durable(await read(writer.feed.follow(writer.job.id, after=1))) == [2]


async def test_watchers_that_come_and_go_at_any_time_miss_nothing(writer: Writer) -> None:
    total = 60

    async def in_pieces(size: int) -> list[int]:
        found: list[int] = []
        while True:
            piece = durable(await read(writer.feed.follow(writer.job.id, after=found[-1] if found else 0), size))
            found += piece
            if len(piece) < size:
                return found

    def write() -> None:
        for number in range(total):
            writer.notice(publish=number % 5 != 0)
        writer.end()

    thread = threading.Thread(target=write)
    readers = [asyncio.create_task(in_pieces(size)) for size in (1, 3, 7, 1000)]
    thread.start()
    found = await asyncio.gather(*readers)
    thread.join()
    assert all(sequences == list(range(1, total + 3)) for sequences in found)


async def test_all_jobs_of_a_project(store: JobStore, new_project: Callable[[], str]) -> None:
    feed = JobFeed(store, asyncio.get_running_loop())
    projects = [new_project(), new_project()]
    writers = [Writer(store, feed, project) for project in projects]
    watching = asyncio.Event()

    async def began() -> None:
        watching.set()

    everything = asyncio.create_task(read(feed.follow_all(watching=began), 7))
    one = asyncio.create_task(read(feed.follow_all(project_id=projects[1]), 4))
    await watching.wait()
    await asyncio.sleep(0)
    for writer in writers:
        writer.notice()
        # Repeated, and with a gap.
        writer.feed.publish(store.events(writer.job.id)[1])
        writer.notice(publish=False)
        writer.notice()
    writers[0].end()
    writers[1].end()
    found = await everything
    for project, length in itertools.zip_longest(projects, (4, 3)):
        assert durable([event for event in found if event.subject.project_id == project]) == [2, 3, 4, 5][:length]
    assert durable(await one) == [2, 3, 4, 5]
