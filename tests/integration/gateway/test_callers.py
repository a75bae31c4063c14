"""Pages of the web cannot drive the mesh; programs, and pages of this machine, can."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import httpx
import pytest
from milimo.v1 import jobs_pb2, jobs_pb2_grpc

from .mesh import PATIENCE_S, Mesh, environment, gateway_process, reason, status

if TYPE_CHECKING:
    from pathlib import Path

EVIL = {"origin": "https://evil.example"}
GRPC_WEB = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
CANCEL = jobs_pb2.CancelJobRequest(job_id="web").SerializeToString()


def frame(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


@pytest.mark.parametrize(
    ("verb", "path", "headers", "body"),
    [
        ("POST", "/v1/jobs/x:cancel", {"content-type": "text/plain"}, b"{}"),
        ("POST", "/v1/jobs/x:cancel", {"content-type": "application/json"}, b"{}"),
        ("POST", "/v1/jobs/x:cancel", {}, b""),
        ("POST", "/v1/jobs/x:cancel", {"content-type": "text/plain", "origin": "null"}, b"{}"),
        ("POST", "/v1/jobs/x:cancel", {"origin": "http://localhost.evil.example"}, b""),
        ("POST", "/v1/projects/p1/assets?name=a", {"content-type": "text/plain"}, b"data"),
        ("POST", "/milimo.v1.JobService/CancelJob", {"content-type": "text/plain"}, frame(CANCEL)),
        ("PATCH", "/v1/jobs/x", {"content-type": "application/json"}, b"{}"),
        ("DELETE", "/v1/jobs/x", {}, b""),
        ("GET", "/v1/jobs/x", {}, b""),
        ("GET", "/media/projects/p1/generated/film.mp4", {}, b""),
    ],
)
def test_other_pages_are_refused(
    verb: str, path: str, headers: dict[str, str], body: bytes, gateway: Mesh, client: httpx.Client
) -> None:
    before = dict(gateway.traffic.calls)
    response = client.request(verb, path, headers=EVIL | headers, content=body)
    assert response.status_code == 403
    found = status(response)
    assert (found.code, reason(found)) == (7, "FOREIGN_ORIGIN")
    assert "MILIMO_GATEWAY_CORS_ORIGINS" in found.message
    assert "access-control-allow-origin" not in response.headers
    assert gateway.traffic.calls == before


def test_other_pages_are_refused_with_grpc_web(gateway: Mesh, client: httpx.Client) -> None:
    url = "/milimo.v1.JobService/CancelJob"
    refused = client.post(url, headers=EVIL | GRPC_WEB, content=frame(CANCEL))
    assert refused.headers["grpc-status"] == "7"
    assert gateway.traffic.calls["cancel web"] == 0
    own = {"origin": "http://localhost:5173"}
    allowed = client.post(url, headers=own | GRPC_WEB, content=frame(CANCEL))
    assert gateway.traffic.calls["cancel web"] == 1
    assert allowed.headers["access-control-allow-origin"] == own["origin"]


async def test_other_pages_are_refused_with_native_grpc(gateway: Mesh) -> None:
    async with grpc.aio.insecure_channel(gateway.url.removeprefix("http://")) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await jobs_pb2_grpc.JobServiceStub(channel).GetJob(
                jobs_pb2.GetJobRequest(job_id="7"), metadata=tuple(EVIL.items())
            )
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "MILIMO_GATEWAY_CORS_ORIGINS" in (refused.value.details() or "")


@pytest.mark.parametrize("origin", ["http://localhost:5173", "https://127.0.0.1", "http://[::1]:80"])
def test_pages_of_this_machine_may_change_things(origin: str, client: httpx.Client) -> None:
    response = client.patch("/v1/jobs/7", json={"priority": "PRIORITY_LOW"}, headers={"origin": origin})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == origin
    upload = client.post("/v1/projects/p1/assets", content=b"png", headers={"origin": origin})
    assert upload.json()["asset"]["bytes"] == "3"


def ask(gateway: Mesh, path: str, host: str) -> tuple[int, httpx.Response]:
    response = httpx.get(gateway.url + path, headers={"host": host}, timeout=PATIENCE_S)
    return response.status_code, response


@pytest.mark.parametrize("path", ["/v1/jobs/7", "/healthz", "/nothing", "/media/projects/p1/generated/film.mp4"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.nip.io"])
def test_other_names_are_refused(path: str, host: str, gateway: Mesh) -> None:
    http, response = ask(gateway, path, host)
    assert http == 403
    found = status(response)
    assert (found.code, reason(found)) == (7, "FOREIGN_HOST")
    assert "MILIMO_GATEWAY_HOSTS" in found.message


def test_another_name_in_the_request_line_is_refused(gateway: Mesh) -> None:
    with socket.create_connection(gateway.address, timeout=PATIENCE_S) as connection:
        connection.sendall(b"GET http://evil.example/v1/jobs/7 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:9", "[::1]:8080"])
def test_names_of_this_machine_are_answered(host: str, gateway: Mesh) -> None:
    assert ask(gateway, "/v1/jobs/7", host)[0] == 200


async def test_another_name_is_refused_with_native_grpc(gateway: Mesh) -> None:
    options = (("grpc.default_authority", "evil.example"),)
    async with grpc.aio.insecure_channel(gateway.url.removeprefix("http://"), options=options) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await jobs_pb2_grpc.JobServiceStub(channel).GetJob(jobs_pb2.GetJobRequest(job_id="7"))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_names_and_origins_that_are_configured(tmp_path: Path) -> None:
    variables = environment(tmp_path, 1, 1, 1) | {
        "MILIMO_GATEWAY_HOSTS": '["studio.example"]',
        "MILIMO_GATEWAY_CORS_ORIGINS": '["https://studio.example"]',
    }
    with gateway_process("envoy", variables) as envoy:
        url = f"http://{envoy.facts['listen']}"

        def answer(host: str, origin: str | None) -> int:
            headers = {"host": host} | ({"origin": origin} if origin else {})
            return httpx.post(f"{url}/v1/jobs/7:cancel", headers=headers, timeout=PATIENCE_S).status_code

        # No service runs: 503 is an answer of somebody who was let in.
        assert answer("studio.example", "https://studio.example") == 503
        assert answer("localhost", None) == 503
        assert answer("studio.example", "http://localhost:5173") == 403
        assert answer("other.example", None) == 403


@pytest.mark.parametrize(
    ("headers", "http"),
    [
        ({"content-type": "application/json"}, 200),
        ({"content-type": "Application/JSON; charset=utf-8"}, 200),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "text/plain; application/json"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"content-type": "application/jsonp"}, 415),
        ({}, 415),
    ],
)
@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_json_body_says_so(headers: dict[str, str], http: int, in_pieces: bool, client: httpx.Client) -> None:
    body: Any = b'{"priority": "PRIORITY_LOW"}'
    response = client.patch("/v1/jobs/7", content=iter([body]) if in_pieces else body, headers=headers)
    assert response.status_code == http
    if http == 415:
        found = status(response)
        assert (found.code, reason(found)) == (3, "UNSUPPORTED_MEDIA_TYPE")
        assert "application/json" in found.message


@pytest.mark.parametrize("headers", [{}, {"content-type": "text/plain"}])
def test_a_request_without_a_body_needs_no_type(headers: dict[str, str], gateway: Mesh, client: httpx.Client) -> None:
    before = gateway.traffic.calls["cancel bare"]
    assert client.post("/v1/jobs/bare:cancel", headers=headers).status_code == 503, "the service's own answer"
    assert gateway.traffic.calls["cancel bare"] == before + 1


def test_curl(gateway: Mesh, tmp_path: Path) -> None:
    def curl(*arguments: str) -> str:
        command = ["curl", "--silent", "--fail-with-body", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout

    assert '"id":"7"' in curl(f"{gateway.url}/v1/jobs/7")
    assert "PRIORITY_LOW" in curl("-X", "PATCH", "--json", '{"priority": "PRIORITY_LOW"}', f"{gateway.url}/v1/jobs/7")
    (tmp_path / "a.png").write_bytes(b"png")
    assert '"bytes":"3"' in curl("--data-binary", f"@{tmp_path}/a.png", f"{gateway.url}/v1/projects/p1/assets")


async def test_many_programs_are_not_concerned(gateway: Mesh) -> None:
    async with grpc.aio.insecure_channel(gateway.url.removeprefix("http://")) as channel:
        stub = jobs_pb2_grpc.JobServiceStub(channel)
        calls = (stub.GetJob(jobs_pb2.GetJobRequest(job_id=str(number))) for number in range(50))
        answers = await asyncio.gather(*calls)
    assert [answer.job.id for answer in answers] == [str(number) for number in range(50)]
