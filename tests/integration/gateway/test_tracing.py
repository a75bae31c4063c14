"""The trace of a client's call goes on behind the gateway, over gRPC and over HTTP, with and without a collector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from milimo.v1 import jobs_pb2, jobs_pb2_grpc

from .mesh import Mesh, mesh

if TYPE_CHECKING:
    from pathlib import Path

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def call_both_ways(gateway: Mesh) -> list[str]:
    """Calls with a traceparent; what the service got for one."""
    with grpc.insecure_channel("{}:{}".format(*gateway.address)) as channel:
        stub = jobs_pb2_grpc.JobServiceStub(channel)
        stub.GetJob(jobs_pb2.GetJobRequest(job_id="7"), metadata=(("traceparent", TRACEPARENT),))
    with gateway.client() as client:
        assert client.get("/v1/jobs/7", headers={"traceparent": TRACEPARENT}).status_code == 200
    return gateway.traffic.traceparents[-2:]


def test_it_passes_through(gateway: Mesh) -> None:
    assert call_both_ways(gateway) == [TRACEPARENT, TRACEPARENT]


def test_envoy_adds_its_own_span_when_there_is_a_collector(tmp_path: Path) -> None:
    with mesh(tmp_path, {"MILIMO_OTLP_ENDPOINT": "http://127.0.0.1:9"}) as (gateway, _):
        for found in call_both_ways(gateway):
            version, trace, span, flags = found.split("-")
            assert (version, trace, flags) == ("00", TRACE, "01")
            assert f"-{span}-" not in TRACEPARENT
