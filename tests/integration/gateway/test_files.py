"""Uploads and media files."""

from __future__ import annotations

import contextlib
import select
import socket
from typing import TYPE_CHECKING

import httpx
import pytest
from google.protobuf import descriptor_pool, json_format
from google.rpc import error_details_pb2, status_pb2

from .mesh import ENVOY_MEMORY, MIB, PATIENCE_S, Mesh, mesh, reason, status

if TYPE_CHECKING:
    from pathlib import Path

SMALL_UPLOAD = 96 * MIB
# The gateway as it is, but for the limit: two gigabytes would take a test too long.
SMALL_UPLOADS = f"""
from milimo_runtime import limits
limits.UPLOAD_BYTES = {SMALL_UPLOAD}
from milimo_gateway.__main__ import main
raise SystemExit(main())
"""


def test_an_upload_is_streamed(gateway: Mesh, client: httpx.Client) -> None:
    size = 50 * MIB
    before = gateway.memory()
    pieces = (bytes(MIB) for _ in range(size // MIB))
    response = client.post(
        "/v1/projects/p1/assets?name=a+film%20of%20mine",
        content=pieces,
        headers={"content-type": "video/mp4", "content-length": str(size)},
    )
    asset = response.json()["asset"]
    assert (asset["bytes"], asset["name"], asset["media_type"]) == (str(size), "a film of mine", "video/mp4")
    assert asset["project_id"] == "p1"
    assert gateway.memory() - before < ENVOY_MEMORY


def test_a_slow_service_slows_the_upload(gateway: Mesh) -> None:
    size, sent = 50 * MIB, 0
    before = gateway.memory()
    with socket.create_connection(gateway.address, timeout=PATIENCE_S) as connection:
        head = f"POST /v1/projects/patient/assets HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n"
        connection.sendall(head.encode() + bytes(MIB))
        sent += MIB
        assert gateway.traffic.reading.wait(PATIENCE_S)
        connection.setblocking(False)
        # Nobody reads at the other end: after a while the socket takes no more.
        while sent < size and select.select([], [connection], [], 1.0)[1]:
            sent += connection.send(bytes(min(MIB, size - sent)))
        assert sent < size
        assert gateway.memory() - before < ENVOY_MEMORY
        gateway.traffic.paused.set()
        connection.settimeout(PATIENCE_S)
        connection.sendall(bytes(size - sent))
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("size", [2 * 1024**3 + 1, 10**15])
def test_an_upload_that_is_too_large_is_refused_at_once(size: int, gateway: Mesh) -> None:
    before = gateway.traffic.calls["upload"]
    with socket.create_connection(gateway.address, timeout=PATIENCE_S) as connection:
        head = f"POST /v1/projects/p1/assets HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n"
        connection.sendall(head.encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    headers, body = answer.split(b"\r\n\r\n", 1)
    assert headers.startswith(b"HTTP/1.1 400")
    found = json_format.Parse(body, status_pb2.Status(), descriptor_pool=descriptor_pool.Default())
    assert (found.code, reason(found)) == (3, "UPLOAD_TOO_LARGE")
    request = error_details_pb2.BadRequest()
    assert found.details[1].Unpack(request)
    assert request.field_violations[0].field == "content"
    assert gateway.traffic.calls["upload"] == before


def test_an_upload_without_a_length_is_refused_when_it_grows_too_large(tmp_path: Path) -> None:
    """Over HTTP a body may come in chunks, and nobody knows its size before its end."""
    with mesh(tmp_path, program=("-c", SMALL_UPLOADS)) as (running, _), running.client() as client:
        small = client.post("/v1/projects/p1/assets", content=(bytes(MIB) for _ in range(3)))
        assert small.json()["asset"]["bytes"] == str(3 * MIB)
        before, sent = running.memory(), 0
        with socket.create_connection(running.address, timeout=PATIENCE_S) as connection:
            head = "POST /v1/projects/p1/assets HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
            connection.sendall(head.encode())
            chunk = f"{MIB:x}\r\n".encode() + bytes(MIB) + b"\r\n"
            # The answer ends the connection: what is sent then finds nobody.
            with contextlib.suppress(ConnectionError):
                while not select.select([connection], [], [], 0)[0]:
                    connection.sendall(chunk)
                    sent += MIB
            answer = b""
            with contextlib.suppress(ConnectionError):
                while piece := connection.recv(65536):
                    answer += piece
        # Not more than what lies in the buffers on the way.
        assert SMALL_UPLOAD - MIB <= sent < SMALL_UPLOAD + 32 * MIB
        headers, body = answer.split(b"\r\n\r\n", 1)
        assert headers.startswith(b"HTTP/1.1 400")
        found = json_format.Parse(body, status_pb2.Status(), descriptor_pool=descriptor_pool.Default())
        assert (found.code, reason(found)) == (3, "UPLOAD_TOO_LARGE")
        assert running.memory() - before < ENVOY_MEMORY
        # The gateway serves on.
        assert client.get("/v1/jobs/one").status_code == 200


@pytest.mark.parametrize(
    ("span", "http", "expected"),
    [
        (None, 200, bytes(range(256)) * 100),
        ("bytes=10-19", 206, bytes(range(10, 20))),
        ("bytes=25590-", 206, bytes(range(246, 256))),
        ("bytes=30000-", 416, None),
    ],
)
def test_byte_ranges(span: str | None, http: int, expected: bytes | None, client: httpx.Client) -> None:
    response = client.get("/media/projects/p1/generated/film.mp4", headers={"range": span} if span else {})
    assert response.status_code == http
    if expected is None:
        assert reason(status(response)) == "RANGE_NOT_SATISFIABLE"
    else:
        assert response.content == expected
        assert response.headers["content-type"] == "video/mp4"


@pytest.mark.parametrize(
    "path",
    [
        "/media/secret.txt",
        "/media/projects/../secret.txt",
        "/media/projects/p1/../../secret.txt",
        "/media/projects/%2e%2e/secret.txt",
        "/media/projects/.%2E/secret.txt",
        "/media/projects/..%2fsecret.txt",
        "/media/projects/..%5Csecret.txt",
        "/media/projects/%252e%252e/secret.txt",
        "/media/projects//../secret.txt",
        "/media/projects/./../secret.txt",
        "/media/projects/p1/generated",
        "/media/projects/",
        "/media/projects/../../../../../../etc/passwd",
        "/media/projects//etc/passwd",
    ],
)
def test_nothing_else_is_served(path: str, gateway: Mesh) -> None:
    with socket.create_connection(gateway.address, timeout=PATIENCE_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.split()[1] in (b"400", b"403", b"404")
    assert answer.split(b"\r\n\r\n")[1].startswith(b'{"code":')
