"""What it costs the denoising loop to tell of a step: the observer of a job with a real feed and real watchers."""

from __future__ import annotations

import asyncio
import threading
import time
from statistics import median
from typing import TYPE_CHECKING, Final

from milimo_runtime.database import Database
from milimo_runtime.job_feed import JobFeed
from milimo_runtime.job_run import JobObserver, JobRun, Signals
from milimo_runtime.job_store import JobStore
from milimo_runtime.jobs import JobKind, NewJob, Subject
from milimo_runtime.progress import Stage, StageSpeeds
from milimo_storyboard.projects import Project, create_project
from rows import Beside, Row, measured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from milimo_runtime.jobs import Job
    from session import Session

NAMES: Final = ("progress_event_ms",)
_WATCHERS: Final = 10
_MANY: Final = 1_000
_EVENTS: Final = 200
# Between two events: a step that leaves the processor to others, as one on an accelerator does.
_STEP_SECONDS: Final = 0.005


def measure(session: Session) -> Mapping[str, Row]:
    """The loop stands in a thread, the watchers on the event loop of the same process, as in a service."""
    database = Database(f"sqlite:///{session.scratch('progress') / 'milimo.sqlite'}")
    database.migrate()
    try:
        store = JobStore(database)
        with database.write() as transaction:
            project = create_project(transaction, Project(name="benchmark"))
        new = NewJob(kind=JobKind.VIDEO, subject=Subject(project_id=project.id), parameters={})
        job, _ = store.submit(new, service="video", worker_address="127.0.0.1:1")
        few = asyncio.run(_watched(store, job, _WATCHERS))
        many = asyncio.run(_watched(store, job, _MANY))
    finally:
        database.close()
    beside = Beside(what=f"the same with {_MANY:,} watchers in the process", value=median(many))
    return {NAMES[0]: measured(NAMES[0], few, beside=beside)}


async def _watched(store: JobStore, job: Job, watchers: int) -> list[float]:
    """Milliseconds of each event while so many watch."""
    feed = JobFeed(store, asyncio.get_running_loop())
    ready = asyncio.Event()
    reached = 0

    async def watch() -> None:
        nonlocal reached
        reached += 1
        if reached == watchers:
            ready.set()
        async for _ in feed.follow(job.id, after=job.last_sequence):
            pass

    tasks = [asyncio.create_task(watch()) for _ in range(watchers)]
    try:
        await ready.wait()
        return await asyncio.to_thread(_steps, store, feed, job)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _steps(store: JobStore, feed: JobFeed, job: Job) -> list[float]:
    speeds = StageSpeeds()
    run = JobRun(job=job, store=store, feed=feed, signals=Signals(), speeds=speeds)
    observer = JobObserver(run, [Stage(name="stage_1", steps=_EVENTS, cost=1.0)], speeds, lambda: None)
    observer.begin("stage_1", _EVENTS)
    took = []
    pause = threading.Event()
    for _ in range(_EVENTS):
        pause.wait(_STEP_SECONDS)
        begin = time.perf_counter()
        observer.advance()
        took.append((time.perf_counter() - begin) * 1e3)
    return took
