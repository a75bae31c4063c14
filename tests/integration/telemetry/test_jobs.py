"""Traces and metrics of jobs, from real processes over OTLP: a crash on the way, a cancellation, a queue."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from milimo.v1 import image_pb2, image_pb2_grpc, jobs_pb2, jobs_pb2_grpc, worker_pb2, worker_pb2_grpc
from milimo_arbiter.metrics import INSTRUMENTS as OF_THE_ARBITER
from milimo_runtime.channels import open_channel
from milimo_runtime.lease import acquire
from milimo_runtime.lease_terms import Claim, Grade
from milimo_runtime.metrics import INSTRUMENTS as OF_WORKERS

from .collector import PROMPTLY, Collector, Span, running_collector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

PATIENCE_S = 60.0
PROGRAM = str(Path(__file__).parents[1] / "recovery_worker.py")
FOOTPRINT = 600
SUBMIT = "milimo.v1.ImageService/SubmitImage"
SECRET = "what only its owner may read"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT = "00f067aa0ba902b7"
TRACEPARENT = (("traceparent", f"00-{TRACE}-{CLIENT}-01"),)

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with running_collector() as running:
        for name, value in PROMPTLY.items():
            monkeypatch.setenv(name, value)
        # For the arbiter; the other processes get it from their own settings.
        monkeypatch.setenv("MILIMO_OTLP_ENDPOINT", running.endpoint)
        yield running


@dataclass
class Studio:
    """An image process without weights, the storyboard process, and the arbiter."""

    settings: dict[str, Any]
    project: str
    home: Path
    start_process: Callable[..., AbstractAsyncContextManager[Any]]
    stack: contextlib.AsyncExitStack
    worker: Any = None

    async def start(self, *arguments: str, address: str) -> Any:
        process = await self.stack.enter_async_context(self.start_process(*arguments, environment=self.settings))
        async with asyncio.timeout(PATIENCE_S):
            await self.channel(address).channel_ready()
        return process

    async def start_worker(self) -> None:
        self.worker = await self.start(PROGRAM, address=self.settings["MILIMO_IMAGE_ADDRESS"])

    def channel(self, address: str) -> Any:
        """Closed with the studio."""
        channel = open_channel(address)
        self.stack.push_async_callback(channel.close)
        return channel

    @property
    def images(self) -> Any:
        return self.channel(self.settings["MILIMO_IMAGE_ADDRESS"])

    async def submit(self, *steps: str, **plan: str) -> str:
        prompt = json.dumps({"steps": steps, "note": SECRET, **plan})
        request = image_pb2.SubmitImageRequest(project_id=self.project, image=image_pb2.ImageParameters(prompt=prompt))
        stub = image_pb2_grpc.ImageServiceStub(self.images)
        return (await stub.SubmitImage(request, metadata=TRACEPARENT, timeout=PATIENCE_S)).job.id

    async def until(self, job_id: str, holds: Callable[[jobs_pb2.JobEvent], bool]) -> None:
        """Follows the job to an event."""
        call = worker_pb2_grpc.WorkerServiceStub(self.images).FollowJob(worker_pb2.FollowJobRequest(job_id=job_id))
        async with asyncio.timeout(PATIENCE_S):
            async for event in call:
                if holds(event):
                    call.cancel()
                    return
        pytest.fail("the job ended without that")

    async def stop_worker(self) -> None:
        """In good order: what was measured and traced is sent before."""
        self.worker.signal(signal.SIGTERM)
        assert await self.worker.wait() == 0
        assert self.worker.errors() == []


@pytest.fixture
async def studio(
    film_home: Path,
    database_url: str,
    project: str,
    collector: Collector,
    arbiter_process: Callable[[], AbstractAsyncContextManager[Any]],
    service_process: Callable[..., AbstractAsyncContextManager[Any]],
    free_address: Callable[[], str],
) -> AsyncIterator[Studio]:
    async with arbiter_process() as arbiter, contextlib.AsyncExitStack() as stack:
        settings = {
            "MILIMO_HOME": film_home,
            "MILIMO_DATABASE_URL": database_url,
            "MILIMO_MODELS_DIR": film_home / "models",
            "MILIMO_MODEL_FAMILY": "test",
            "MILIMO_DEVICE": "cpu",
            "MILIMO_ARBITER_ADDRESS": arbiter.address,
            "MILIMO_IMAGE_ADDRESS": free_address(),
            "MILIMO_VIDEO_ADDRESS": free_address(),
            "MILIMO_STORYBOARD_ADDRESS": free_address(),
            "MILIMO_DRAIN_SECONDS": "10",
            "MILIMO_OTLP_ENDPOINT": collector.endpoint,
            "FILM_VERSION": "1",
        }
        made = Studio(settings=settings, project=project, home=film_home, start_process=service_process, stack=stack)
        await made.start_worker()
        yield made


def is_held(event: jobs_pb2.JobEvent) -> bool:
    return event.notice.code == "HELD"


def is_over(event: jobs_pb2.JobEvent) -> bool:
    return event.state in {jobs_pb2.JOB_STATE_SUCCEEDED, jobs_pb2.JOB_STATE_CANCELLED}


def below(collector: Collector, parent: Span) -> list[str]:
    """The names of what is right below a span, in the order of its beginnings."""
    children = [span for span in collector.spans if span.parent_id == parent.span_id]
    assert all(parent.start <= child.start <= child.end <= parent.end for child in children)
    return [span.name for span in sorted(children, key=lambda span: (span.start, span.end))]


async def test_one_trace_leads_from_the_call_to_the_file_also_through_a_crash(
    studio: Studio, collector: Collector
) -> None:
    job_id = await studio.submit("one", "two", hold="two")
    await studio.until(job_id, is_held)
    await asyncio.to_thread(collector.until, lambda: collector.named("store") and collector.named(SUBMIT))
    await studio.worker.kill()
    (studio.home / "go").touch()
    await studio.start_worker()
    await studio.until(job_id, is_over)
    await studio.stop_worker()

    mine = [span for span in collector.spans if span.process == "milimo-image"]
    assert {span.trace_id for span in mine} == {TRACE}
    [submit] = collector.named(SUBMIT)
    assert (submit.parent_id, submit.attributes["milimo.job.id"]) == (CLIENT, job_id)
    assert submit.attributes["rpc.grpc.status_code"] == 0

    # The first attempt never ended; what it had done is there.
    [job] = collector.named("job image")
    assert job.parent_id == submit.span_id
    assert (job.attributes["milimo.job.attempt"], job.attributes["milimo.job.state"]) == (2, "succeeded")
    assert below(collector, job) == ["lease wait", "load", "stage two", "encode", "store"]
    lost = {span.parent_id for span in mine} - {CLIENT} - {span.span_id for span in mine}
    [first] = [parent for parent in lost if any(s.name == "stage one" and s.parent_id == parent for s in mine)]
    before = sorted((span for span in mine if span.parent_id == first), key=lambda span: (span.start, span.end))
    assert [span.name for span in before][:5] == ["lease wait", "load", "stage one", "encode", "store"]

    for name in ("one", "two"):
        [stage] = collector.named(f"stage {name}")
        assert below(collector, stage) == ["step", "step"]
        steps = [span.attributes for span in collector.named("step") if span.parent_id == stage.span_id]
        assert [(step["milimo.step"], step["milimo.steps"]) for step in steps] == [(1, 1), (3, 2)]
    [wait] = [span for span in collector.named("lease wait") if span.parent_id == job.span_id]
    assert (wait.attributes["milimo.outcome"], wait.attributes["milimo.device"]) == ("granted", "cpu:0")
    assert (wait.attributes["milimo.granted_bytes"], wait.attributes["milimo.resident"]) == (FOOTPRINT, False)
    [load] = [span for span in collector.named("load") if span.parent_id == job.span_id]
    assert load.attributes["milimo.bytes"] == FOOTPRINT
    stored = collector.named("store")
    assert [span.attributes["milimo.artefact"] for span in stored] == ["one", "two"]
    assert stored[0].attributes["milimo.media_type"] == "image/png"
    assert not any(span.failed for span in collector.spans)
    assert not any(SECRET.encode() in data for data in collector.raw)


async def test_a_cancellation_is_one_trace_through_two_processes(
    studio: Studio, collector: Collector, free_address: Callable[[], str]
) -> None:
    board = studio.settings["MILIMO_STORYBOARD_ADDRESS"]
    await studio.start("-m", "milimo_storyboard", address=board)
    running = await studio.submit("one", hold="one")
    await studio.until(running, is_held)
    waiting = await studio.submit("one")
    await studio.until(waiting, lambda event: event.HasField("queue_position"))
    await asyncio.to_thread(
        collector.until,
        lambda: (
            [point.value for point in collector.measured("milimo.job.queue.depth")] == [1]
            and [point.value for point in collector.measured("milimo.jobs", milimo_job_state="running")] == [1]
        ),
    )

    trace = "0af7651916cd43dd8448eb211c80319c"
    jobs = jobs_pb2_grpc.JobServiceStub(studio.channel(board))
    for job_id in (waiting, running):
        request = jobs_pb2.CancelJobRequest(job_id=job_id)
        await jobs.CancelJob(request, metadata=(("traceparent", f"00-{trace}-{CLIENT}-01"),))
        await studio.until(job_id, is_over)
    await studio.stop_worker()
    await asyncio.to_thread(collector.until, lambda: len(collector.named("milimo.v1.JobService/CancelJob")) == 2)
    notes = "milimo.v1.WorkerService/NotifyJob"
    await asyncio.to_thread(collector.until, lambda: len(collector.named(notes)) == 4)

    for cancel in collector.named("milimo.v1.JobService/CancelJob"):
        assert (cancel.process, cancel.trace_id, cancel.parent_id) == ("milimo-storyboard", trace, CLIENT)
        [told] = [span for span in collector.named(notes) if span.parent_id == cancel.span_id]
        [heard] = [span for span in collector.named(notes) if span.parent_id == told.span_id]
        assert (told.process, heard.process) == ("milimo-storyboard", "milimo-image")
        assert {told.trace_id, heard.trace_id} == {trace}
    # The jobs belong to the traces that submitted them.
    cancelled = collector.named("job image")
    assert [(span.trace_id, span.attributes["milimo.job.state"]) for span in cancelled] == [(TRACE, "cancelled")] * 2
    [stage] = collector.named("stage one")
    assert (stage.failed, stage.attributes["error.type"]) == (True, "JobCancelled")
    waits = {span.attributes["milimo.outcome"]: span for span in collector.named("lease wait")}
    assert set(waits) == {"granted", "withdrawn"}
    name, place = waits["withdrawn"].events[0]
    assert (name, place["milimo.queue.position"]) == ("queued", 1)
    assert place["milimo.queue.reason"] == f"image is busy on job {running}"


async def test_metrics_have_values_and_logs_name_trace_and_job(studio: Studio, collector: Collector) -> None:
    job_id = await studio.submit("one", hold="one")
    await studio.until(job_id, is_held)

    def levels() -> dict[str, list[float]]:
        return {each.name: [point.value for point in collector.measured(each.name)] for each in OF_THE_ARBITER}

    # Somebody who has more on the device than weights that are only a number.
    channel = studio.channel(studio.settings["MILIMO_ARBITER_ADDRESS"])
    other = await acquire(
        channel,
        Claim(tenant="video", grades=(Grade(name="whole", bytes=300),)),
        on_queued=lambda _: None,
        measure=lambda: 250,
        on_change=lambda: None,
    )
    await asyncio.to_thread(collector.until, lambda: levels()["milimo.memory.measured"] == [250])
    assert levels() == {
        "milimo.memory.budget": [1_000],
        "milimo.memory.granted": [FOOTPRINT + 300],
        "milimo.memory.parked": [0],
        "milimo.memory.quarantined": [0],
        "milimo.memory.external": [0],
        "milimo.memory.measured": [250],
        "milimo.memory.free": [1_000 - FOOTPRINT - 300],
        "milimo.arbiter.leases": [2],
        "milimo.arbiter.queue.depth": [0],
        # One grant to each of the two.
        "milimo.arbiter.decisions": [1, 1],
    }
    await other.release()
    (studio.home / "go").touch()
    await studio.until(job_id, is_over)
    await studio.stop_worker()

    for each in (*OF_WORKERS, *OF_THE_ARBITER):
        points = collector.measured(each.name)
        assert points, each.name
        assert {(point.unit, frozenset(point.attributes)) for point in points} == {
            (each.unit, frozenset(each.attributes))
        }, each.name
    assert {point.attributes["milimo.job.state"]: point.value for point in collector.measured("milimo.jobs")} == {
        "queued": 0,
        "waiting_for_lease": 0,
        "running": 0,
    }
    [ended] = collector.measured("milimo.jobs.ended", milimo_job_state="succeeded", milimo_job_kind="image")
    [wait] = collector.measured("milimo.lease.wait", milimo_tenant="image", milimo_outcome="granted")
    [steps] = collector.measured("milimo.step.duration", milimo_stage="one")
    assert (ended.value, wait.count, steps.count) == (1, 1, 2)
    assert wait.value > 0
    assert steps.value > 0
    for direction in ("load", "unload"):
        [moved] = collector.measured("milimo.model.swap.bytes", milimo_swap_direction=direction)
        [took] = collector.measured("milimo.model.swap.duration", milimo_swap_direction=direction)
        assert (moved.value, took.count) == (FOOTPRINT, 1)

    lines = [json.loads(line) for line in studio.worker.log.read_text().splitlines()]
    [end] = [line for line in lines if line.get("action") == "job_ended"]
    [call] = [line for line in lines if line.get("method") == f"/{SUBMIT}"]
    assert (end["trace_id"], end["job_id"], call["trace_id"]) == (TRACE, job_id, TRACE)
