"""Telemetry of a process without a collector, the places in traces that rows keep, and the tally of jobs."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from milimo_runtime.job_tally import JobTally
from milimo_runtime.job_trace import job_span
from milimo_runtime.jobs import JobKind, JobState, NewJob, Subject
from milimo_runtime.logs import JsonFormatter
from milimo_runtime.telemetry import configure_telemetry, context_of, current_traceparent
from opentelemetry import context as contexts
from opentelemetry import trace

if TYPE_CHECKING:
    from milimo_runtime.job_store import JobStore

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
ONLY_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_without_an_endpoint_nothing_of_the_sdk_is_loaded() -> None:
    program = (
        "import sys; import milimo_arbiter.__main__, milimo_storyboard.__main__, milimo_runtime.worker; "
        "from milimo_runtime.telemetry import configure_telemetry; configure_telemetry('test', None)(); "
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("header", ["", "nonsense", f"00-{TRACE}-0000000000000000-01"])
def test_what_is_no_place_in_a_trace_leads_to_none(header: str) -> None:
    assert not trace.get_current_span(context_of(header)).get_span_context().is_valid


def test_a_place_in_a_trace_is_found_again() -> None:
    assert current_traceparent() is None
    token = contexts.attach(context_of(TRACEPARENT))
    try:
        assert current_traceparent() == TRACEPARENT
    finally:
        contexts.detach(token)


@ONLY_SQLITE
def test_a_job_keeps_the_trace_of_the_call_that_submitted_it(store: JobStore, project: str) -> None:
    configure_telemetry("test", None)
    new = NewJob(kind=JobKind.IMAGE, subject=Subject(project_id=project), parameters={})
    elsewhere, _ = store.submit(new, service="image", worker_address="a")
    token = contexts.attach(context_of(TRACEPARENT))
    try:
        job, _ = store.submit(new, service="image", worker_address="a")
    finally:
        contexts.detach(token)
    assert (elsewhere.traceparent, job.traceparent) == ("", TRACEPARENT)
    begun, _ = store.begin_attempt(job.id)
    assert begun.traceparent == TRACEPARENT
    with job_span(begun) as span:
        # Nobody records it, and the log names the caller's trace all the same.
        assert not span.is_recording()
        assert current_traceparent() == TRACEPARENT
        record = logging.makeLogRecord({"msg": "hello"})
        assert f'"trace_id": "{TRACE}"' in JsonFormatter("test").format(record)
    assert current_traceparent() is None


@ONLY_SQLITE
def test_the_tally_counts_open_jobs_by_kind_and_state(store: JobStore, project: str) -> None:
    new = NewJob(kind=JobKind.IMAGE, subject=Subject(project_id=project), parameters={})
    first, second = (store.submit(new, service="image", worker_address="a")[0] for _ in range(2))
    film = replace(first, id="film", kind=JobKind.VIDEO)
    tally = JobTally()

    def counts() -> dict[tuple[str, ...], int]:
        return {tuple(attributes.values()): number for number, attributes in tally.by_kind_and_state()}

    for job in (first, second, film):
        tally.reached(job, JobState.QUEUED)
    assert (counts(), tally.waiting) == ({("image", "queued"): 2, ("video", "queued"): 1}, 3)
    tally.reached(first, JobState.WAITING_FOR_LEASE)
    tally.reached(film, JobState.RUNNING)
    assert tally.waiting == 2
    tally.reached(first, JobState.RUNNING)
    tally.reached(first, JobState.RUNNING)
    tally.ended(first, JobState.SUCCEEDED)
    tally.left(second.id)
    tally.left(second.id)
    assert counts() == {
        ("image", "queued"): 0,
        ("video", "queued"): 0,
        ("image", "waiting_for_lease"): 0,
        ("image", "running"): 0,
        ("video", "running"): 1,
    }
