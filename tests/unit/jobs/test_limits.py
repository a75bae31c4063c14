"""How many jobs a service takes in, and how much it asks of the database to tell of them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from milimo_runtime.database import Database
from milimo_runtime.errors import ResourceExhausted
from milimo_runtime.job_store import JobStore
from milimo_runtime.jobs import JobKind, JobState, NewJob, Subject

from .requests import REQUEST, asset_of, submit

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Recorded = Callable[[], AbstractContextManager[list[tuple[str, Any]]]]


def test_a_service_takes_in_so_many_jobs_and_no_more(database: Database, project: str) -> None:
    store = JobStore(database, open_jobs=2)
    first, second = submit(store, project, REQUEST), submit(store, project)
    with pytest.raises(ResourceExhausted) as caught:
        submit(store, project)
    assert (caught.value.reason, caught.value.retry_after_s is not None) == ("QUEUE_FULL", True)
    # A repeat takes no place, and each service has a queue of its own.
    assert submit(store, project, REQUEST).id == first.id
    other = NewJob(kind=JobKind.IMAGE, subject=Subject(project_id=project), parameters={})
    store.submit(other, service="image", worker_address="127.0.0.1:2")
    # Waiting for memory and running are on the way; what has ended is not.
    store.begin_attempt(first.id)
    store.enter(first.id, 1, JobState.RUNNING)
    with pytest.raises(ResourceExhausted):
        submit(store, project)
    begun, _ = store.begin_attempt(second.id)
    store.finish(second.id, begun.attempt, JobState.CANCELLED)
    submit(store, project)


def test_the_bound_holds_when_many_come_at_once(database: Database, project: str) -> None:
    store = JobStore(database, open_jobs=5)
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        for _ in range(2):
            try:
                outcomes.append(submit(store, project).state.value)
            except ResourceExhausted as error:
                outcomes.append(error.reason)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["QUEUE_FULL"] * 11 + ["queued"] * 5
    assert len(store.open_jobs("video")) == 5


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_bound_is_looked_up_in_the_index(database: Database, project: str, recorded: Recorded) -> None:
    """However long the history, only as many entries are read as jobs may be open."""
    with recorded() as statements:
        submit(JobStore(database, open_jobs=2), project)
    [(statement, values)] = [found for found in statements if "OFFSET" in found[0]]
    with database.read() as session:
        plans = [row[-1] for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert [("COVERING INDEX ix_jobs_service_state" in plan) for plan in plans] == [True]


def test_a_list_takes_as_many_statements_for_many_jobs_as_for_one(
    store: JobStore, project: str, recorded: Recorded
) -> None:
    jobs = [submit(store, project) for _ in range(7)]
    for job in jobs[1:]:
        store.begin_attempt(job.id)
        for name in ("one", "two"):
            store.commit_artefact(job.id, 1, asset_of(job, name), fraction=0.5)
    for limit in (1, 7):
        with recorded() as statements:
            listed = store.list(limit=limit)
        assert len(statements) == 2, statements
        assert len(listed) == limit
    assert [[asset.artefact for asset in job.assets] for job in reversed(listed)] == [[], *[["one", "two"]] * 6]
    with recorded() as statements:
        assert [job.id for job in store.open_jobs("video")] == [job.id for job in jobs]
    assert len(statements) == 1, statements
