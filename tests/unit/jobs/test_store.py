"""Jobs in the database: states, sequences, repeats, and attempts that were overtaken."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from milimo_runtime.assets import Asset
from milimo_runtime.database import Database, now
from milimo_runtime.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, OutOfRange
from milimo_runtime.job_store import JobStore, JobTakenOver
from milimo_runtime.jobs import (
    Accepted,
    ArtefactCommitted,
    ChunkCommitted,
    Failed,
    Failure,
    Job,
    JobKind,
    JobState,
    NewJob,
    Notice,
    StateChanged,
    Subject,
)
from milimo_runtime.lease_terms import Priority
from milimo_runtime.paging import Place, place_of
from milimo_runtime.schema import AssetRow, ProjectRow
from sqlalchemy import func, select

from .requests import REQUEST, asset_of, delete_job, request_cancel, submit

if TYPE_CHECKING:
    from collections.abc import Callable


def sequences(store: JobStore, job_id: str) -> list[int]:
    return [event.sequence for event in store.events(job_id)]


def ended(store: JobStore, project: str, state: JobState = JobState.SUCCEEDED) -> Job:
    job = submit(store, project)
    begun, _ = store.begin_attempt(job.id)
    store.finish(job.id, begun.attempt, state)
    return store.get(job.id)


def test_a_job_from_acceptance_to_success(store: JobStore, project: str) -> None:
    job = submit(store, project)
    assert (job.state, job.attempt, job.last_sequence) == (JobState.QUEUED, 0, 1)
    begun, events = store.begin_attempt(job.id)
    assert (begun.attempt, events) == (1, [])
    assert store.enter(job.id, 1, JobState.WAITING_FOR_LEASE) is not None
    assert store.enter(job.id, 1, JobState.WAITING_FOR_LEASE) is None
    running = store.enter(job.id, 1, JobState.RUNNING, reason="granted")
    assert running is not None
    store.append(job.id, 1, Notice(code="SILENT", text="no sound"))
    store.append(job.id, 1, ChunkCommitted(chunk=0, chunks=2))
    asset, committed = store.commit_artefact(job.id, 1, asset_of(job, "video"), fraction=0.75)
    assert committed is not None
    assert store.get(job.id).fraction == 0.75
    store.finish(job.id, 1, JobState.SUCCEEDED)

    done = store.get(job.id)
    assert (done.state, done.fraction, done.failure) == (JobState.SUCCEEDED, 1.0, None)
    assert done.created_at <= (done.started_at or done.created_at) <= (done.ended_at or done.created_at)
    assert [found.id for found in done.assets] == [asset.id]
    events = store.events(job.id)
    assert [event.sequence for event in events] == list(range(1, 8))
    assert [event.body for event in events] == [
        Accepted(),
        StateChanged(attempt=1),
        StateChanged(attempt=1, reason="granted"),
        Notice(code="SILENT", text="no sound"),
        ChunkCommitted(chunk=0, chunks=2),
        ArtefactCommitted(asset=asset.to_json()),
        StateChanged(attempt=1),
    ]
    assert events[-1].state is JobState.SUCCEEDED
    assert all(event.subject == job.subject and event.durable for event in events)
    assert Asset.from_json(asset.to_json()) == asset


def test_times_come_back_in_utc(store: JobStore, project: str) -> None:
    before = now()
    job = store.get(submit(store, project).id)
    assert before <= job.created_at <= now()
    assert job.created_at.utcoffset() is not None
    assert job.created_at.tzname() == "UTC"


def test_a_failure_keeps_its_details(store: JobStore, project: str) -> None:
    job = submit(store, project)
    begun, _ = store.begin_attempt(job.id)
    failure = Failure(code=9, message="no weights", details=({"@type": "x", "reason": "MODEL_MISSING"},))
    store.finish(job.id, begun.attempt, JobState.FAILED, failure=failure)
    assert store.get(job.id).failure == failure
    assert store.events(job.id)[-1].body == Failed(failure=failure)


def test_finishing_needs_a_final_state(store: JobStore, project: str) -> None:
    with pytest.raises(ValueError, match="not final"):
        store.finish(submit(store, project).id, 0, JobState.RUNNING)


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
def test_nothing_follows_a_final_state(store: JobStore, project: str, state: JobState) -> None:
    job = ended(store, project, state)
    before = sequences(store, job.id)
    for change in (
        lambda: store.begin_attempt(job.id),
        lambda: store.enter(job.id, 1, JobState.RUNNING),
        lambda: store.append(job.id, 1, Notice(code="LATE", text="")),
        lambda: store.commit_artefact(job.id, 1, asset_of(job, "video"), fraction=1.0),
        lambda: store.finish(job.id, 1, JobState.FAILED),
    ):
        with pytest.raises(JobTakenOver):
            change()
    assert request_cancel(store, job.id, keep_partial=True).cancel_requested is False
    assert sequences(store, job.id) == before
    assert store.get(job.id).assets == ()


def test_an_attempt_that_was_overtaken_commits_nothing(store: JobStore, project: str) -> None:
    job = submit(store, project)
    store.begin_attempt(job.id)
    store.enter(job.id, 1, JobState.RUNNING)
    _, events = store.begin_attempt(job.id)
    assert [event.body for event in events] == [StateChanged(attempt=2, reason="RECOVERED")]
    assert events[0].state is JobState.QUEUED
    for change in (
        lambda: store.enter(job.id, 1, JobState.WAITING_FOR_LEASE),
        lambda: store.append(job.id, 1, Notice(code="LATE", text="")),
        lambda: store.commit_artefact(job.id, 1, asset_of(job, "video"), fraction=1.0),
        lambda: store.finish(job.id, 1, JobState.SUCCEEDED),
    ):
        with pytest.raises(JobTakenOver):
            change()
    assert sequences(store, job.id) == [1, 2, 3]
    assert store.get(job.id).assets == ()
    store.finish(job.id, 2, JobState.SUCCEEDED)


def test_an_artefact_is_stored_once(store: JobStore, database: Database, project: str) -> None:
    job = submit(store, project)
    store.begin_attempt(job.id)
    first, event = store.commit_artefact(job.id, 1, asset_of(job, "video"), fraction=0.5)
    assert event is not None
    store.begin_attempt(job.id)
    again, repeated = store.commit_artefact(job.id, 2, asset_of(job, "video"), fraction=0.5)
    assert (again, repeated) == (first, None)
    assert store.artefact(job.id, "video") == first
    assert store.artefact(job.id, "other") is None
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(AssetRow)) == 1
    assert sequences(store, job.id) == [1, 2, 3]


def test_a_repeated_request_id_finds_its_job(store: JobStore, project: str) -> None:
    first = submit(store, project, REQUEST)
    again, created = store.submit(
        NewJob(
            kind=JobKind.VIDEO,
            subject=Subject(project_id=project),
            parameters={"ignored": True},
            request_id=REQUEST,
            request_hash="a",
        ),
        service="video",
        worker_address="127.0.0.1:1",
    )
    assert (again.id, again.parameters, created) == (first.id, first.parameters, False)
    with pytest.raises(AlreadyExists):
        submit(store, project, REQUEST, "b")
    assert submit(store, project).id != submit(store, project).id


def test_a_request_id_that_comes_many_times_at_once_makes_one_job(store: JobStore, project: str) -> None:
    found: list[str] = []
    barrier = threading.Barrier(6)

    def ask() -> None:
        barrier.wait()
        found.append(submit(store, project, REQUEST).id)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1


def test_events_of_many_writers_have_neither_gap_nor_repeat(store: JobStore, project: str) -> None:
    job = submit(store, project)
    store.begin_attempt(job.id)

    def write() -> None:
        for number in range(10):
            store.append(job.id, 1, Notice(code="N", text=str(number)))
            request_cancel(store, job.id, keep_partial=False)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sequences(store, job.id) == list(range(1, 42))
    assert store.get(job.id).last_sequence == 41


def test_a_job_needs_its_project(store: JobStore) -> None:
    with pytest.raises(NotFound):
        submit(store, "nowhere")


@pytest.mark.parametrize("ask", [JobStore.get, JobStore.events, delete_job])
def test_unknown_jobs_are_not_found(store: JobStore, ask: Callable[[JobStore, str], object]) -> None:
    with pytest.raises(NotFound) as caught:
        ask(store, "nowhere")
    assert caught.value.violations[0].field == "job_id"
    with pytest.raises(JobTakenOver):
        store.begin_attempt("nowhere")
    with pytest.raises(NotFound):
        request_cancel(store, "nowhere", keep_partial=False)


def test_reading_on_shows_job_and_events_of_one_moment(store: JobStore, project: str) -> None:
    job = submit(store, project)
    begun, _ = store.begin_attempt(job.id)
    store.enter(job.id, begun.attempt, JobState.RUNNING)
    read, events = store.read_on(job.id, after=1)
    assert (read.last_sequence, [event.sequence for event in events]) == (2, [2])
    assert store.read_on(job.id, after=2)[1] == []
    with pytest.raises(OutOfRange) as caught:
        store.read_on(job.id, after=3)
    assert caught.value.violations[0].field == "after_sequence"


def test_cancelling_is_a_wish(store: JobStore, project: str) -> None:
    job = submit(store, project)
    wished = request_cancel(store, job.id, keep_partial=True)
    assert (wished.cancel_requested, wished.keep_partial, wished.state) == (True, True, JobState.QUEUED)
    assert sequences(store, job.id) == [1]
    assert store.begin_attempt(job.id)[0].cancel_requested


@pytest.mark.parametrize("keep", [True, False])
def test_what_a_cancelled_job_has_stored_goes_unless_it_is_to_be_kept(
    store: JobStore, project: str, *, keep: bool
) -> None:
    job, other = submit(store, project), submit(store, project)
    assets = []
    for made in (job, other):
        store.begin_attempt(made.id)
        assets.append(store.commit_artefact(made.id, 1, asset_of(made, "one"), fraction=0.5)[0])
    request_cancel(store, job.id, keep_partial=keep)
    assert list(store.remove_partial(job.id, 1)) == ([] if keep else [assets[0]])
    assert list(store.get(job.id).assets) == ([assets[0]] if keep else [])
    assert list(store.get(other.id).assets) == [assets[1]]
    with pytest.raises(JobTakenOver):
        store.remove_partial(job.id, 2)


def test_retrying_makes_a_new_job_of_the_same_request(store: JobStore, project: str) -> None:
    job = submit(store, project, priority=Priority.HIGH)
    with pytest.raises(FailedPrecondition):
        store.retry(job.id, request_id="")
    begun, _ = store.begin_attempt(job.id)
    store.finish(job.id, begun.attempt, JobState.CANCELLED)
    retry, created = store.retry(job.id, request_id=REQUEST)
    assert created
    assert (retry.retry_of, retry.kind, retry.subject, retry.parameters, retry.priority, retry.state) == (
        job.id,
        job.kind,
        job.subject,
        job.parameters,
        Priority.HIGH,
        JobState.QUEUED,
    )
    again, created = store.retry(job.id, request_id=REQUEST)
    assert (again.id, created) == (retry.id, False)
    other = ended(store, project)
    with pytest.raises(AlreadyExists):
        store.retry(other.id, request_id=REQUEST)


def test_deleting_keeps_the_results(store: JobStore, database: Database, project: str) -> None:
    job = submit(store, project)
    with pytest.raises(FailedPrecondition):
        delete_job(store, job.id)
    begun, _ = store.begin_attempt(job.id)
    asset, _ = store.commit_artefact(job.id, begun.attempt, asset_of(job, "video"), fraction=1.0)
    store.finish(job.id, begun.attempt, JobState.SUCCEEDED)
    delete_job(store, job.id)
    with pytest.raises(NotFound):
        store.get(job.id)
    with database.read() as session:
        assert session.get(AssetRow, asset.id) is not None


def test_deleting_a_project_deletes_its_jobs(store: JobStore, database: Database, project: str) -> None:
    job = ended(store, project)
    with database.write() as session:
        session.delete(session.get_one(ProjectRow, project))
    with pytest.raises(NotFound):
        store.get(job.id)


def test_a_list_is_paged_newest_first(store: JobStore, new_project: Callable[[], str]) -> None:
    project, other = new_project(), new_project()
    ids = [submit(store, project).id for _ in range(5)]
    submit(store, other)
    ended(store, other)
    found: list[str] = []
    after = None
    while page := store.list(project_id=project, after=after, limit=2):
        found += [job.id for job in page]
        # What a client sends back.
        after = place_of(Place(time=page[-1].created_at, id=page[-1].id).token)
        if len(found) == 2:
            # The last job of a page may be gone when the next page is asked for.
            begun, _ = store.begin_attempt(found[-1])
            store.finish(found[-1], begun.attempt, JobState.CANCELLED)
            delete_job(store, found[-1])
    assert found == list(reversed(ids))
    assert len(store.list(states=[JobState.SUCCEEDED], limit=10)) == 1
    assert len(store.list(service="image", limit=10)) == 0
    assert {job.id for job in store.list(limit=100)} >= set(ids) - {found[1]}


@pytest.mark.parametrize(
    "token",
    ["x", "é", "MTIz", "bm90IGEgdGltZQ==", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5IGE=", "69ee4d95375c41abba808f1222c9075c"],
)
def test_a_page_token_of_somebody_else_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        place_of(token)
    assert caught.value.violations[0].field == "page_token"


def test_jobs_follow_their_process_to_another_address(store: JobStore, project: str) -> None:
    job, over = submit(store, project), ended(store, project)
    store.adopt("video", "127.0.0.1:2")
    assert store.get(job.id).worker_address == store.get(over.id).worker_address == "127.0.0.1:2"
    store.adopt("image", "127.0.0.1:3")
    assert store.get(job.id).worker_address == "127.0.0.1:2"
    assert [found.id for found in store.open_jobs("video")] == [job.id]
