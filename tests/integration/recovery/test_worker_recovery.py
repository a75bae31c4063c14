"""A worker that is killed, stopped, restarted and cancelled: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from milimo.v1 import image_pb2, image_pb2_grpc, jobs_pb2, worker_pb2, worker_pb2_grpc
from milimo_runtime.answered import recall, remember
from milimo_runtime.errors import NotFound
from milimo_runtime.jobs import JobState, Notice
from milimo_runtime.lease import acquire
from milimo_runtime.lease_terms import Claim, Grade
from milimo_runtime.process_lock import AlreadyRuns, process_lock
from milimo_storyboard.job_service import JobService

from .studio import ONLY_SQLITE, PATIENCE_S, Studio, Watching, held, is_running, states, until, watch, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from milimo_storyboard.job_relay import JobRelay


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
        studio.cancel(job_id, keep_partial=False)
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
        studio.cancel(partly, keep_partial=keep)
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
    studio.cancel(queued, keep_partial=False)
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
    studio.cancel(waiting, keep_partial=False)

    studio.go()
    await studio.start()
    await watching.end()
    await watch(relay, waiting).end()
    assert watching.sequences == [event.sequence for event in whole(studio.store, job_id)]
    whole(studio.store, waiting, end=JobState.CANCELLED)
    assert studio.diary() == ["one 1", "one 2"]


async def test_what_another_executor_left_is_taken_up(studio: Studio, relay: JobRelay) -> None:
    """The process was configured anew, or its data were moved: its jobs are still its own, with the steps they did."""
    job_id = await studio.submit("one", "two", hold="two")
    await held(relay, job_id)
    waiting = await studio.submit("one")
    await studio.process.kill()
    files = studio.engine_files()
    studio.executor_id = "moved"
    for file in files:
        file.rename(file.with_name(file.name.replace("image-local", "image-moved")))
    studio.go()
    await studio.start()
    for each in (job_id, waiting):
        await watch(relay, each).end()
        whole(studio.store, each)
    done = studio.diary()
    assert done[:2] == ["one 1", "two 1"]
    # Which of the two goes on first is open, and so is whether the one that waited had been begun before.
    assert sorted(done[2:]) in [[other, "two 2"] for other in ("one 1", "one 2")]
    await studio.stop()
    studio.quiet()


@ONLY_SQLITE
async def test_a_job_whose_engine_forgot_it_begins_anew(studio: Studio, relay: JobRelay) -> None:
    """The file of the engine was lost: what was stored is found, and nothing is stored twice."""
    job_id = await studio.submit("one", "two", hold="two")
    await held(relay, job_id)
    [stored] = studio.store.get(job_id).assets
    await studio.process.kill()
    for file in studio.engine_files():
        file.unlink()
    studio.go()
    await studio.start()
    await watch(relay, job_id).end()
    whole(studio.store, job_id)
    assert studio.diary() == ["one 1", "two 1", "one 2", "two 2"]
    assert [asset.artefact for asset in studio.store.get(job_id).assets] == ["one", "two"]
    assert studio.store.get(job_id).assets[0] == stored


async def test_a_deleted_job_leaves_nothing_but_its_results(studio: Studio, relay: JobRelay) -> None:
    service = JobService(studio.store, relay)
    deleted, missed = await studio.submit("one"), await studio.submit("one", "two")
    for job_id in (deleted, missed):
        await watch(relay, job_id).end()
        # The engine records the end a moment after the job has told it.
        await until(lambda each=job_id: "workflow_output" in studio.engine_rows(each))
    assert studio.engine_rows(missed) == {
        "workflow_status": 1,
        "operation_outputs": 2,
        "workflow_input": 1,
        "workflow_output": 1,
    }
    files = sorted((studio.home / "media").rglob("*.png"))
    await service.DeleteJob(jobs_pb2.DeleteJobRequest(job_id=deleted), None)
    assert studio.engine_rows(deleted) == {}
    with pytest.raises(NotFound):
        studio.store.events(deleted)
    assert sorted((studio.home / "media").rglob("*.png")) == files
    assert len(files) == 3

    # One that its process has not heard of is collected later.
    await studio.stop()
    await service.DeleteJob(jobs_pb2.DeleteJobRequest(job_id=missed), None)
    assert studio.engine_rows(missed) != {}
    studio.retention_days = 1e-9
    await studio.start()
    await until(lambda: studio.engine_rows(missed) == {})


@ONLY_SQLITE
async def test_ended_jobs_are_collected_when_their_time_has_come(studio: Studio, relay: JobRelay) -> None:
    old, held_back = await studio.submit("one"), await studio.submit("two", hold="two")
    await watch(relay, old).end()
    await held(relay, held_back)
    await studio.stop()
    with studio.store.database.write() as session:
        remember(session, "an id", method="", digest="", answer=b"answer")

    def remembered() -> bool:
        with studio.store.database.read() as session:
            return recall(session, "an id", "") is not None

    assert remembered()
    studio.retention_days = studio.request_id_hours = 1e-9
    await studio.start()
    await until(lambda: not remembered())
    await until(lambda: old not in {job.id for job in studio.store.list(limit=10)})
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


async def test_a_step_that_runs_out_of_memory_is_done_once_more(studio: Studio, relay: JobRelay) -> None:
    job_id = await studio.submit("one", "two", short="two")
    watching = watch(relay, job_id)
    await watching.end()
    events = whole(studio.store, job_id)
    assert studio.diary() == ["one 1", "two 1", "two 1"]
    assert [event.body.code for event in events if isinstance(event.body, Notice)] == ["OUT_OF_MEMORY"]
    assert all(earlier <= later for earlier, later in itertools.pairwise(watching.fractions))

    job_id = await studio.submit("three", exhaust="three")
    await watch(relay, job_id).end()
    whole(studio.store, job_id, end=JobState.FAILED)
    failure = studio.store.get(job_id).failure
    assert failure is not None
    assert failure.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert failure.details[0]["reason"] == "OUT_OF_MEMORY"
    assert "On cpu:0: image" in failure.message
    assert studio.diary()[3:] == ["three 1", "three 1"]


@ONLY_SQLITE
async def test_who_watches_all_jobs_misses_no_event_of_a_restart(studio: Studio, relay: JobRelay) -> None:
    everything = Watching(relay.watch_all(project_id="", previews=False))
    async with asyncio.timeout(PATIENCE_S):
        while not everything.seen and not everything.task.done():
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
