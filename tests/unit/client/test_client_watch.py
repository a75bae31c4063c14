"""A watch sees every durable event once and in order, whatever happens to its streams."""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from milimo import AsyncMilimo, Milimo, MilimoError, Patience
from milimo.cursor import EventGap, JobCursor
from milimo.v1 import jobs_pb2
from milimo_runtime.errors import ModelMissing
from milimo_runtime.statuses import to_status

if TYPE_CHECKING:
    from .studio import Studio

QUICK = Patience(tries=20, first=0.001, longest=0.002)


def durable(events: list[jobs_pb2.JobEvent]) -> list[int]:
    return [event.sequence for event in events if event.durable]


async def watch_both(
    address: str, job_id: str, *, after_sequence: int = 0, patience: Patience = QUICK, asynchronous: bool
) -> tuple[list[jobs_pb2.JobEvent], jobs_pb2.Job]:
    """The same watch by either twin."""
    if asynchronous:
        async with AsyncMilimo(address) as client:
            watch = client.watch(job_id, after_sequence=after_sequence, patience=patience)
            return [event async for event in watch], await watch.result()
    with Milimo(address) as blocking:
        blocking_watch = blocking.watch(job_id, after_sequence=after_sequence, patience=patience)
        return list(blocking_watch), blocking_watch.result()


twins = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "aio"])


@twins
async def test_an_undisturbed_job(studio: Studio, address: str, asynchronous: bool) -> None:
    job = studio.add_job("p", [])
    events, ended = await watch_both(address, job.id, asynchronous=asynchronous)
    assert events == studio.events[job.id]
    assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert len(studio.requests["WatchJob"]) == 1


@twins
@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, None], ids=str)
async def test_streams_that_break_after_each_event(
    studio: Studio, address: str, asynchronous: bool, code: grpc.StatusCode | None
) -> None:
    job = studio.add_job("p", [])
    studio.cuts = deque([0, 1, 2, 1, 0, 1])
    studio.cut_code = code
    events, ended = await watch_both(address, job.id, asynchronous=asynchronous)
    assert durable(events) == list(range(1, ended.last_sequence + 1))
    assert len(studio.requests["WatchJob"]) == 7
    asked = [request.after_sequence for request in studio.requests["WatchJob"]]
    assert asked == sorted(asked)


@twins
async def test_a_server_that_repeats_events(studio: Studio, address: str, asynchronous: bool) -> None:
    job = studio.add_job("p", [])
    studio.cuts = deque([3, 3, 3])
    studio.repeats = 2
    events, ended = await watch_both(address, job.id, asynchronous=asynchronous)
    assert durable(events) == list(range(1, ended.last_sequence + 1))


@twins
async def test_an_event_that_a_stream_left_out_is_asked_for_again(
    studio: Studio, address: str, asynchronous: bool
) -> None:
    job = studio.add_job("p", [])
    whole = studio.events[job.id]
    # The first stream leaves out the second event; the one after the gap has it.
    studio.events[job.id] = [event for event in whole if event.sequence != 2]
    original = studio.record

    def heal(method: str, request: object, context: grpc.ServicerContext) -> None:
        original(method, request, context)
        if method == "WatchJob" and len(studio.requests["WatchJob"]) == 2:
            studio.events[job.id] = whole

    studio.record = heal  # type: ignore[method-assign]
    events, ended = await watch_both(address, job.id, asynchronous=asynchronous)
    assert durable(events) == list(range(1, ended.last_sequence + 1))
    assert [request.after_sequence for request in studio.requests["WatchJob"]] == [0, 1]


@twins
async def test_a_failed_job_ends_the_watch_without_an_exception(
    studio: Studio, address: str, asynchronous: bool
) -> None:
    studio.outcome = jobs_pb2.JOB_STATE_FAILED
    studio.error = to_status(ModelMissing("a file is missing"))
    job = studio.add_job("p", [])
    events, ended = await watch_both(address, job.id, asynchronous=asynchronous)
    assert events[-1].failed.error.message == "a file is missing"
    assert ended.state == jobs_pb2.JOB_STATE_FAILED
    assert ended.error == studio.error


@twins
async def test_a_watch_begins_where_it_is_told(studio: Studio, address: str, asynchronous: bool) -> None:
    job = studio.add_job("p", [])
    events, ended = await watch_both(address, job.id, after_sequence=3, asynchronous=asynchronous)
    assert durable(events) == list(range(4, ended.last_sequence + 1))


@twins
async def test_a_job_of_which_everything_was_seen(studio: Studio, address: str, asynchronous: bool) -> None:
    job = studio.add_job("p", [])
    last = studio.jobs[job.id].last_sequence
    events, ended = await watch_both(address, job.id, after_sequence=last, asynchronous=asynchronous)
    assert durable(events) == []
    assert ended.id == job.id


@twins
async def test_no_such_job(studio: Studio, address: str, asynchronous: bool) -> None:
    with pytest.raises(MilimoError) as caught:
        await watch_both(address, "nowhere", asynchronous=asynchronous)
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert len(studio.requests["WatchJob"]) == 1


@twins
async def test_patience_ends(studio: Studio, address: str, asynchronous: bool) -> None:
    job = studio.add_job("p", [])
    studio.cuts = deque([0] * 100)
    with pytest.raises(MilimoError) as caught:
        await watch_both(
            address, job.id, patience=Patience(tries=3, first=0.001, longest=0.001), asynchronous=asynchronous
        )
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert len(studio.requests["WatchJob"]) == 4


def test_a_watch_that_is_closed_leaves_the_job_alone(studio: Studio, address: str) -> None:
    studio.hang.set()
    job = studio.add_job("p", [])
    with Milimo(address) as client:
        watch = client.watch(job.id)
        assert [event.sequence for event in itertools.islice(watch, 3)] == [1, 2, 2]
        assert watch.sequence == 2
    assert "CancelJob" not in studio.requests


def test_pauses_double_up_to_a_bound() -> None:
    assert list(Patience(tries=5, first=1.0, longest=3.0).pauses()) == [1.0, 2.0, 3.0, 3.0, 3.0]


def event(sequence: int, **fields: object) -> jobs_pb2.JobEvent:
    return jobs_pb2.JobEvent(job_id="j", sequence=sequence, **fields)  # type: ignore[arg-type]


def test_a_snapshot_stands_for_what_is_no_longer_kept() -> None:
    cursor = JobCursor("j", after_sequence=2)
    snapshot = jobs_pb2.JobEvent.Snapshot(job=jobs_pb2.Job(last_sequence=9))
    assert cursor.accept(event(9, snapshot=snapshot, state=jobs_pb2.JOB_STATE_RUNNING))
    assert cursor.sequence == 9
    assert not cursor.accept(event(9, snapshot=snapshot, state=jobs_pb2.JOB_STATE_RUNNING))
    assert cursor.accept(event(10, durable=True, state=jobs_pb2.JOB_STATE_SUCCEEDED))
    assert cursor.ended


def test_progress_of_the_past_is_left_out() -> None:
    cursor = JobCursor("j", after_sequence=5)
    assert not cursor.accept(event(4, state=jobs_pb2.JOB_STATE_RUNNING))
    assert cursor.accept(event(5, state=jobs_pb2.JOB_STATE_RUNNING))


def test_a_gap_is_no_news() -> None:
    cursor = JobCursor("j", after_sequence=5)
    with pytest.raises(EventGap, match="event 8 came where 6 was due") as caught:
        cursor.accept(event(8, durable=True))
    assert caught.value.is_transient
    assert cursor.sequence == 5


@given(
    length=st.integers(min_value=1, max_value=12),
    streams=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.sets(st.integers(1, 12)))),
)
def test_any_streams_give_each_durable_event_once(length: int, streams: list[tuple[int, int, set[int]]]) -> None:
    """Each stream repeats some old events, leaves some out, and breaks after a few; the last one is whole."""
    log = [
        event(
            number, durable=True, state=jobs_pb2.JOB_STATE_SUCCEEDED if number == length else jobs_pb2.JOB_STATE_RUNNING
        )
        for number in range(1, length + 1)
    ]
    cursor, seen = JobCursor("j"), list[int]()
    for repeats, count, missing in [*streams, (0, length, set[int]())]:
        begin = max(0, cursor.request(previews=False).after_sequence - repeats)
        for item in [item for item in log[begin:] if item.sequence not in missing][:count]:
            try:
                if cursor.accept(item):
                    seen.append(item.sequence)
            except EventGap:
                break
    assert seen == list(range(1, length + 1))
    assert cursor.ended
