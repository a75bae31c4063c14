"""The process: what it loads, how it answers for its health, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from milimo.v1 import jobs_pb2
from milimo_runtime.jobs import JobKind, NewJob, Subject
from milimo_storyboard.__main__ import SERVICES

from .board import MIB, ONLY_SQLITE, Storyboard, read

if TYPE_CHECKING:
    from milimo_runtime.job_store import JobStore


@ONLY_SQLITE
async def test_a_healthy_process_without_torch(storyboard: Storyboard) -> None:
    health = health_pb2_grpc.HealthStub(storyboard.channel)
    for service in ("", *SERVICES):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(storyboard.channel)
    [listed] = await read(
        reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    )
    assert {service.name for service in listed.list_services_response.service} >= set(SERVICES)

    mapped = storyboard.mapped_files()
    assert "torch" not in mapped
    # PyAV is loaded by the first video that is uploaded.
    assert "/av/" not in mapped
    assert storyboard.resident_bytes() < 250 * MIB

    storyboard.process.signal(signal.SIGTERM)
    assert await storyboard.process.wait() == 0
    assert storyboard.process.errors() == []


@pytest.mark.parametrize(
    "module", ["milimo_arbiter", "milimo_storyboard", "milimo_gateway", "milimo_video", "milimo_image"]
)
async def test_starting_imports_no_torch(module: str) -> None:
    program = (
        f"import sys, {module}.__main__; print([name for name in ('torch', 'diffusers', 'av') if name in sys.modules])"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert (process.returncode, output.decode().strip()) == (0, "[]"), errors.decode()


@ONLY_SQLITE
async def test_a_stopped_process_ends_open_watches_in_good_order(storyboard: Storyboard, store: JobStore) -> None:
    project = await storyboard.project()
    new = NewJob(kind=JobKind.VIDEO, subject=Subject(project_id=project.id), parameters={})
    job, _ = store.submit(new, service="video", worker_address="127.0.0.1:1")
    one = storyboard.jobs.WatchJob(jobs_pb2.WatchJobRequest(job_id=job.id))
    everything = storyboard.jobs.WatchJobs(jobs_pb2.WatchJobsRequest())
    pending = asyncio.create_task(everything.read())
    assert (await one.read()).sequence == 1
    started = time.monotonic()
    storyboard.process.signal(signal.SIGTERM)
    assert await storyboard.process.wait() == 0
    assert time.monotonic() - started < 8
    for call in (one.read(), pending):
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    assert storyboard.process.errors() == []
