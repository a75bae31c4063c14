"""What a watcher gets when it reads as slowly as it likes."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from milimo.v1 import jobs_pb2
from milimo_runtime.errors import NotFound, Unavailable
from milimo_storyboard.backoff import Backoff
from milimo_storyboard.inbox import Inbox, Told

if TYPE_CHECKING:
    from collections.abc import Sequence

JOBS = ("one", "two")
# A durable event, an ephemeral one of a kind, or the reader takes one: each of a job.
STEPS = st.lists(st.tuples(st.sampled_from(JOBS), st.sampled_from(["durable", "progress", "preview", "read"])))


def event(job_id: str, sequence: int, kind: str, number: int = 0, project: str = "") -> Told:
    message = jobs_pb2.JobEvent(job_id=job_id, sequence=sequence, durable=kind == "durable")
    message.subject.project_id = project
    if kind == "progress":
        message.progress.step = number
    elif kind == "preview":
        message.preview.width = number
    else:
        message.notice.code = "N"
    return Told.of(message)


async def rest_of(inbox: Inbox) -> list[Told]:
    return [told async for told in inbox.read()]


def told_of(read: Sequence[Told], job_id: str) -> list[jobs_pb2.JobEvent]:
    return [told.message for told in read if told.message.job_id == job_id]


@given(steps=STEPS)
def test_a_slow_reader_misses_only_what_is_stale(steps: Sequence[tuple[str, str]]) -> None:
    async def check() -> None:
        inbox = Inbox()
        events = inbox.read()
        sequences = dict.fromkeys(JOBS, 0)
        newest: dict[tuple[str, str], int] = {}
        read: list[Told] = []
        for number, (job_id, what) in enumerate(steps):
            if what == "read":
                if len(inbox):
                    read.append(await anext(events))
                continue
            if what == "durable":
                sequences[job_id] += 1
                newest = {key: value for key, value in newest.items() if key[0] != job_id}
            else:
                newest[job_id, what] = number
            inbox.put(event(job_id, sequences[job_id], what, number))
            waiting = sum(sequences.values()) - sum(told.message.durable for told in read)
            assert len(inbox) <= waiting + 2 * len(JOBS), "the newest of each kind, and no more"
        inbox.end()
        read += [told async for told in events]
        for job_id in JOBS:
            mine = told_of(read, job_id)
            assert [one.sequence for one in mine if one.durable] == list(range(1, sequences[job_id] + 1))
            # What belongs to a state comes before the next one.
            assert all(earlier.sequence <= later.sequence for earlier, later in itertools.pairwise(mine))
            for (of, kind), number in newest.items():
                if of == job_id:
                    last = [one for one in mine if one.WhichOneof("event") == kind][-1]
                    assert number == (last.progress.step if kind == "progress" else last.preview.width)
        assert all(told.data == told.message.SerializeToString() for told in read)

    asyncio.run(check())


async def test_only_what_was_asked_for() -> None:
    inbox = Inbox(after=2)
    for sequence in range(1, 5):
        inbox.put(event("one", sequence, "progress"))
        inbox.put(event("one", sequence, "durable"))
    inbox.end()
    assert [told.message.sequence for told in await rest_of(inbox)] == [3, 4]

    inbox = Inbox(project_id="film")
    for project in ("film", "another", "film"):
        inbox.put(event("one", 1, "durable", project=project))
    inbox.end()
    assert len(await rest_of(inbox)) == 2


async def test_a_reader_who_never_reads_is_sent_away() -> None:
    inbox = Inbox(limit=3)
    for sequence in range(1, 10):
        inbox.put(event("one", sequence, "durable"))
    events = inbox.read()
    assert [(await anext(events)).message.sequence for _ in range(3)] == [1, 2, 3], "what it gets has no gap"
    with pytest.raises(Unavailable, match="more than 3"):
        await anext(events)


async def test_an_error_comes_after_what_was_told_before_to_all() -> None:
    error = NotFound("job", "one")
    for _ in range(3):
        inbox = Inbox()
        pending = asyncio.create_task(rest_of(inbox))
        await asyncio.sleep(0)
        inbox.put(event("one", 1, "durable"))
        inbox.end(error)
        inbox.put(event("one", 2, "durable"))
        inbox.end()
        with pytest.raises(NotFound):
            await pending


@given(first=st.floats(0.01, 1), most=st.floats(1, 60), chances=st.lists(st.floats(0, 1, exclude_max=True), min_size=2))
def test_rests_grow_to_their_bound_and_begin_anew(first: float, most: float, chances: list[float]) -> None:
    drawn = iter(chances)
    backoff = Backoff(first=first, most=most, chance=lambda: next(drawn))
    for number in range(len(chances) - 1):
        step = min(most, first * 2**number)
        assert step / 2 <= backoff.draw() <= step
    backoff.reset()
    assert first / 2 <= backoff.draw() <= first
