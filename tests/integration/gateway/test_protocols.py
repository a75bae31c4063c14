"""Native gRPC, gRPC-Web and reflection through the gateway."""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import httpx
import pytest
from google.api import httpbody_pb2
from milimo.client import Milimo
from milimo.errors import MilimoError
from milimo.probes import probe_processes
from milimo.v1 import arbiter_pb2, arbiter_pb2_grpc, assets_pb2, assets_pb2_grpc, jobs_pb2, jobs_pb2_grpc, video_pb2
from milimo.v1 import video_pb2_grpc as video_grpc
from milimo_gateway.contract import read_contract
from milimo_gateway.routes import public_services
from milimo_gateway.settings import CLUSTERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


from .mesh import MIB, PATIENCE_S, Mesh


async def test_native_grpc(gateway: Mesh) -> None:
    async with grpc.aio.insecure_channel(gateway.url.removeprefix("http://")) as channel:
        stub = jobs_pb2_grpc.JobServiceStub(channel)
        assert (await stub.GetJob(jobs_pb2.GetJobRequest(job_id="7"))).job.id == "7"
        events = [event.sequence async for event in stub.WatchJob(jobs_pb2.WatchJobRequest(job_id="7"))]
        assert events == [1, 2, 3]
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await stub.GetJob(jobs_pb2.GetJobRequest(job_id="missing"))
        assert missing.value.code() is grpc.StatusCode.NOT_FOUND
        assert "grpc-status-details-bin" in dict(missing.value.trailing_metadata() or ())
        with pytest.raises(grpc.aio.AioRpcError) as away:
            await video_grpc.VideoServiceStub(channel).SubmitVideo(video_pb2.SubmitVideoRequest(project_id="p"))
        assert away.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError) as internal:
            await channel.unary_unary("/milimo.v1.WorkerService/NotifyJob")(b"")
        assert internal.value.code() is grpc.StatusCode.UNIMPLEMENTED
        arbiter = arbiter_pb2_grpc.MemoryArbiterStub(channel)
        # Nothing is sent: a message that meets the end of its stream would end as an error of the client's own.
        assert await arbiter.Lease().code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.aio.AioRpcError) as status:
            await arbiter.GetStatus(arbiter_pb2.GetStatusRequest())
        assert status.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_native_upload_may_be_longer_than_a_message(gateway: Mesh) -> None:
    async def pieces() -> AsyncIterator[assets_pb2.UploadAssetRequest]:
        for _ in range(16):
            yield assets_pb2.UploadAssetRequest(project_id="p1", content=httpbody_pb2.HttpBody(data=bytes(MIB)))

    async with grpc.aio.insecure_channel(gateway.url.removeprefix("http://")) as channel:
        answer = await assets_pb2_grpc.AssetServiceStub(channel).UploadAsset(pieces())
    assert answer.asset.bytes == 16 * MIB


async def test_a_thousand_watchers(gateway: Mesh) -> None:
    async with grpc.aio.insecure_channel(gateway.url.removeprefix("http://")) as channel:
        stub = jobs_pb2_grpc.JobServiceStub(channel)
        calls = [stub.WatchJob(jobs_pb2.WatchJobRequest(job_id="endless")) for _ in range(1000)]
        async with asyncio.timeout(60):
            firsts = await asyncio.gather(*(call.read() for call in calls))
        assert [event.sequence for event in firsts] == [1] * 1000
        for call in calls:
            call.cancel()


def test_grpc_web(client: httpx.Client) -> None:
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    message = jobs_pb2.GetJobRequest(job_id="7").SerializeToString()
    frame = struct.pack(">BI", 0, len(message)) + message
    response = client.post("/milimo.v1.JobService/GetJob", content=frame, headers=headers)
    assert response.headers["content-type"] == "application/grpc-web+proto"
    flag, size = struct.unpack(">BI", response.content[:5])
    assert flag == 0
    assert jobs_pb2.GetJobResponse.FromString(response.content[5 : 5 + size]).job.id == "7"
    rest = response.content[5 + size :]
    assert rest[0] == 0x80
    assert b"grpc-status:0" in rest


def test_health_is_told_of_every_process(gateway: Mesh) -> None:
    with Milimo(gateway.url) as client:
        probes = {probe.process: probe for probe in probe_processes(client)}
        assert set(probes) == set(CLUSTERS)
        assert {name for name, probe in probes.items() if probe.answers} == {"storyboard", "edge"}
        assert probes["video"].text not in ("", probes["edge"].text)
        with pytest.raises(MilimoError) as unknown:
            client.health.serves("nothing", timeout=PATIENCE_S)
        assert unknown.value.code is grpc.StatusCode.UNIMPLEMENTED


def buf_curl(*arguments: str) -> str:
    buf = Path(sys.executable).parent / "buf"
    command = [str(buf), "curl", "--http2-prior-knowledge", "--protocol", "grpc", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout


def test_reflection_answers_for_all_public_services(gateway: Mesh) -> None:
    methods = set(buf_curl(gateway.url, "--list-methods").split())
    expected = {
        f"{service.name}/{each.name}" for service in public_services(read_contract()) for each in service.methods
    }
    assert expected <= methods
    assert not any(name.startswith(("milimo.v1.WorkerService", "milimo.v1.TextGenerationService")) for name in methods)
    answer = json.loads(buf_curl(f"{gateway.url}/milimo.v1.JobService/GetJob", "-d", '{"job_id": "7"}'))
    assert answer == {"job": {"id": "7", "state": "JOB_STATE_RUNNING"}}
