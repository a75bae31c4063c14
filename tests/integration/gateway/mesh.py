"""A real Envoy, run by its launcher, in front of a real gRPC server whose behaviour the tests choose."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import httpx
from google.api import httpbody_pb2
from google.protobuf import descriptor_pool, json_format
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from milimo.v1 import assets_pb2, assets_pb2_grpc, jobs_pb2, jobs_pb2_grpc, projects_pb2, projects_pb2_grpc
from milimo_runtime.channels import SERVER_OPTIONS
from milimo_runtime.errors import NotFound, Unavailable
from milimo_runtime.interceptors import CallInterceptor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence


MIB = 1024 * 1024
ENVOY_MEMORY = 64 * MIB
PATIENCE_S = 20.0


@dataclass
class Traffic:
    """What the server saw, and the switches by which a test steers it."""

    calls: Counter[str] = field(default_factory=Counter)
    traceparents: list[Any] = field(default_factory=list)
    paused: threading.Event = field(default_factory=threading.Event)
    reading: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


class Jobs(jobs_pb2_grpc.JobServiceServicer):
    """Job ids choose the behaviour."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic

    async def GetJob(self, request: jobs_pb2.GetJobRequest, context: Any) -> jobs_pb2.GetJobResponse:
        self.traffic.calls[f"get {request.job_id}"] += 1
        self.traffic.traceparents.append(dict(context.invocation_metadata()).get("traceparent"))
        if request.job_id == "missing":
            raise NotFound("job", "missing")
        if request.job_id == "flaky" and self.traffic.calls["get flaky"] < 3:
            raise Unavailable("in a moment")
        if request.job_id == "slow":
            self.traffic.entered.set()
            await asyncio.to_thread(self.traffic.release.wait, PATIENCE_S)
        return jobs_pb2.GetJobResponse(job=jobs_pb2.Job(id=request.job_id, state=jobs_pb2.JOB_STATE_RUNNING))

    async def ListJobs(self, request: jobs_pb2.ListJobsRequest, context: Any) -> jobs_pb2.ListJobsResponse:
        jobs = [jobs_pb2.Job(id=request.project_id, state=state) for state in request.states]
        return jobs_pb2.ListJobsResponse(jobs=jobs)

    async def CancelJob(self, request: jobs_pb2.CancelJobRequest, context: Any) -> jobs_pb2.CancelJobResponse:
        self.traffic.calls[f"cancel {request.job_id}"] += 1
        raise Unavailable("not now")

    async def UpdateJob(self, request: jobs_pb2.UpdateJobRequest, context: Any) -> jobs_pb2.UpdateJobResponse:
        return jobs_pb2.UpdateJobResponse(job=jobs_pb2.Job(id=request.job_id, priority=request.priority))

    async def WatchJob(self, request: jobs_pb2.WatchJobRequest, context: Any) -> AsyncIterator[jobs_pb2.JobEvent]:
        if request.job_id == "missing":
            raise NotFound("job", "missing")
        try:
            for sequence in range(request.after_sequence + 1, 4):
                yield jobs_pb2.JobEvent(job_id=request.job_id, sequence=sequence, durable=True)
            if request.job_id == "endless":
                await asyncio.Event().wait()
        finally:
            # Also when the caller left at the first of them.
            if request.job_id == "endless":
                self.traffic.cancelled.set()


class Assets(assets_pb2_grpc.AssetServiceServicer):
    """Counts what is uploaded."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic

    async def UploadAsset(
        self, requests: AsyncIterator[assets_pb2.UploadAssetRequest], context: Any
    ) -> assets_pb2.UploadAssetResponse:
        self.traffic.calls["upload"] += 1
        asset = assets_pb2.Asset()
        async for request in requests:
            if not asset.project_id:
                asset.project_id, asset.name = request.project_id, request.name
                asset.media_type = request.content.content_type
                if request.project_id == "patient":
                    self.traffic.reading.set()
                    await asyncio.to_thread(self.traffic.paused.wait, PATIENCE_S)
            assert len(request.content.data) <= MIB
            asset.bytes += len(request.content.data)
        return assets_pb2.UploadAssetResponse(asset=asset)

    async def DownloadAsset(
        self, request: assets_pb2.DownloadAssetRequest, context: Any
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        for piece in (b"first", b"second"):
            yield httpbody_pb2.HttpBody(content_type="image/png", data=piece)


class Projects(projects_pb2_grpc.ProjectServiceServicer):
    """Echoes."""

    async def UpdateProject(
        self, request: projects_pb2.UpdateProjectRequest, context: Any
    ) -> projects_pb2.UpdateProjectResponse:
        return projects_pb2.UpdateProjectResponse(project=request.project)


@contextlib.contextmanager
def services(traffic: Traffic) -> Iterator[int]:
    """A gRPC server in a thread of its own; its port."""
    loop = asyncio.new_event_loop()
    port: list[int] = []
    started, stop = threading.Event(), asyncio.Event()

    async def run() -> None:
        server = grpc.aio.server(options=list(SERVER_OPTIONS), interceptors=[CallInterceptor()])
        jobs_pb2_grpc.add_JobServiceServicer_to_server(Jobs(traffic), server)
        assets_pb2_grpc.add_AssetServiceServicer_to_server(Assets(traffic), server)
        projects_pb2_grpc.add_ProjectServiceServicer_to_server(Projects(), server)
        checks = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        await checks.set("", health_pb2.HealthCheckResponse.SERVING)
        port.append(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        started.set()
        await stop.wait()
        await server.stop(grace=None)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert started.wait(PATIENCE_S)
        yield port[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)
        loop.close()


@dataclass
class Process:
    """A process of the gateway and the facts that it logged when it began to serve."""

    process: subprocess.Popen[str]
    facts: dict[str, Any]

    def read_until(self, action: str) -> dict[str, Any]:
        """The next log line with this action."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            record: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
            if record.get("action") == action:
                return record
        raise AssertionError(f"the process ended without {action!r}, status {self.process.wait()}")


@contextlib.contextmanager
def gateway_process(
    name: str, environment: dict[str, str], program: Sequence[str] = ("-m", "milimo_gateway")
) -> Iterator[Process]:
    """Runs `python -m milimo_gateway NAME` until the block ends."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MILIMO_")}
    process = subprocess.Popen(
        [sys.executable, *program, name], env=clean | environment, stderr=subprocess.PIPE, text=True
    )
    alarm = threading.Timer(2 * PATIENCE_S, process.kill)
    alarm.start()
    try:
        running = Process(process=process, facts={})
        running.facts = running.read_until("serving")
        alarm.cancel()
        yield running
    finally:
        alarm.cancel()
        process.terminate()
        try:
            process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@dataclass
class Mesh:
    """A running gateway in front of the test's server."""

    url: str
    address: tuple[str, int]
    envoy_pid: int
    home: Path
    traffic: Traffic

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE_S)

    def memory(self) -> int:
        """Peak resident bytes of Envoy."""
        for line in Path(f"/proc/{self.envoy_pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmHWM")


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port on which nobody listens, and nobody else will."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def environment(home: Path, port: int, away: int, edge: int) -> dict[str, str]:
    silent = {f"MILIMO_{name}_ADDRESS": f"127.0.0.1:{away}" for name in ("ARBITER", "VIDEO", "IMAGE", "SEGMENTATION")}
    return silent | {
        "MILIMO_HOME": str(home),
        "MILIMO_GATEWAY_LISTEN": "127.0.0.1:0",
        "MILIMO_GATEWAY_ADMIN": "127.0.0.1:0",
        "MILIMO_STORYBOARD_ADDRESS": f"127.0.0.1:{port}",
        "MILIMO_EDGE_ADDRESS": f"127.0.0.1:{edge}",
        "MILIMO_GATEWAY_CONCURRENCY": "1",
    }


def host_and_port(address: str) -> tuple[str, int]:
    host, port = address.split(":")
    return host, int(port)


@contextlib.contextmanager
def mesh(
    home: Path, settings: Mapping[str, str] | None = None, program: Sequence[str] = ("-m", "milimo_gateway")
) -> Iterator[tuple[Mesh, Process]]:
    """`program` runs the gateway's processes."""
    traffic = Traffic()
    with reserved_port() as edge:
        pass
    with services(traffic) as port, reserved_port() as away:
        variables = environment(home, port, away, edge) | dict(settings or {})
        with gateway_process("edge", variables), gateway_process("envoy", variables, program) as envoy:
            listen = envoy.facts["listen"]
            yield (
                Mesh(
                    url=f"http://{listen}",
                    address=host_and_port(listen),
                    envoy_pid=envoy.facts["pid"],
                    home=home,
                    traffic=traffic,
                ),
                envoy,
            )


def status(response: httpx.Response) -> status_pb2.Status:
    """The body as a Status whose details are all of known types."""
    assert response.headers["content-type"] == "application/json"
    return json_format.Parse(response.text, status_pb2.Status(), descriptor_pool=descriptor_pool.Default())


def reason(found: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    assert found.details[0].Unpack(info)
    assert info.domain == "milimo"
    return info.reason
