"""Requests for jobs that come again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from milimo_runtime.errors import NotFound
from milimo_runtime.job_store import JobStore
from milimo_runtime.jobs import Job, JobState

from .requests import REQUEST, delete_job, submit

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Recorded = Callable[[], AbstractContextManager[list[tuple[str, Any]]]]


def ended(store: JobStore, project: str, state: JobState = JobState.SUCCEEDED) -> Job:
    job = submit(store, project)
    begun, _ = store.begin_attempt(job.id)
    store.finish(job.id, begun.attempt, state)
    return store.get(job.id)


def test_a_repeat_finds_its_job_as_it_stands_until_that_is_deleted(store: JobStore, project: str) -> None:
    job = submit(store, project, REQUEST)
    begun, _ = store.begin_attempt(job.id)
    store.finish(job.id, begun.attempt, JobState.SUCCEEDED)
    found = store.repeated(REQUEST, "a")
    assert found is not None
    assert (found.id, found.state) == (job.id, JobState.SUCCEEDED)
    assert store.repeated("", "a") is None
    delete_job(store, job.id)
    for ask in (lambda: submit(store, project, REQUEST), lambda: store.repeated(REQUEST, "a")):
        with pytest.raises(NotFound) as caught:
            ask()
        assert caught.value.violations[0].field == "request_id"


def test_a_repeated_retry_finds_the_new_job_also_when_the_old_one_is_gone(store: JobStore, project: str) -> None:
    job = ended(store, project)
    retry, _ = store.retry(job.id, request_id=REQUEST)
    delete_job(store, job.id)
    again, created = store.retry(job.id, request_id=REQUEST)
    assert (again.id, created) == (retry.id, False)
    with pytest.raises(NotFound):
        store.retry(job.id, request_id="")
