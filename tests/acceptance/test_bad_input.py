"""Bad input is told apart from our own faults: the field is named, nothing changes, no trace shows."""

from __future__ import annotations

import io
import json
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from milimo.v1 import projects_pb2

VIDEO = {"prompt": "rain"}


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({**VIDEO, "num_frames": 0}, 400, "video.num_frames"),
        ({**VIDEO, "num_frames": -1}, 400, "video.num_frames"),
        ({**VIDEO, "num_frames": 20_001}, 400, "video.num_frames"),
        ({**VIDEO, "width": 257}, 400, "video.width"),
        ({**VIDEO, "height": 257}, 400, "video.height"),
        ({**VIDEO, "width": 100_000}, 400, "video.width"),
        ({**VIDEO, "fps": 23}, 400, "video.fps"),
        ({}, 400, "video.prompt"),
        ({"prompt": "x" * 10_001}, 400, "video.prompt"),
        ({**VIDEO, "conditions": [{"asset_id": "nothing"}]}, 404, "video.conditions[0].asset_id"),
        ({**VIDEO, "conditions": [{"asset_id": "../../etc/passwd"}]}, 404, "video.conditions[0].asset_id"),
        ({**VIDEO, "conditions": [{"asset_id": "a", "strength": 2}]}, 400, "video.conditions[0].strength"),
    ],
)
def test_video(http: str, project: projects_pb2.Project, body: Mapping[str, Any], status: int, field: str) -> None:
    answer = httpx.post(f"{http}/v1/projects/{project.id}/videos", json=body)
    assert answer.status_code == status, answer.text
    assert field in _fields(answer)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "image.prompt"),
        ({"prompt": "x", "width": 10}, "image.width"),
        ({"prompt": "x", "width": 8192, "height": 8192}, "image.width"),
        ({"prompt": "x", "count": 17}, "image.count"),
        ({"prompt": "x", "steps": 0}, "image.steps"),
    ],
)
def test_image(http: str, project: projects_pb2.Project, body: Mapping[str, Any], field: str) -> None:
    answer = httpx.post(f"{http}/v1/projects/{project.id}/images", json=body)
    assert answer.status_code == 400, answer.text
    assert field in _fields(answer)


def test_unknown_project(http: str) -> None:
    for path in ("videos", "images"):
        answer = httpx.post(f"{http}/v1/projects/nothing/{path}", json=VIDEO)
        assert answer.status_code == 404
        assert _fields(answer) == ["project_id"]


@pytest.mark.parametrize(
    "body",
    [
        '{"prompt": "x", "pipeline_override": "VIDEO_PIPELINE_MAGIC"}',
        '{"prompt": "x", "colour": 1}',
        '{"prompt": ',
        "[]",
    ],
    ids=["unknown enum word", "unknown field", "broken JSON", "no object"],
)
def test_json(http: str, project: projects_pb2.Project, body: str) -> None:
    answer = httpx.post(
        f"{http}/v1/projects/{project.id}/videos", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == 3
    assert "Traceback" not in answer.text


def _bomb() -> bytes:
    """81 megapixels in some kilobytes."""
    data = io.BytesIO()
    Image.new("1", (9000, 9000)).save(data, "PNG")
    return data.getvalue()


def _png(width: int = 64, height: int = 64) -> bytes:
    data = io.BytesIO()
    Image.effect_noise((width, height), 50).save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (_png()[:-40], "damaged"),
        (_bomb(), "64 megapixels"),
        (b"", "empty"),
        (b"this is no image", "PNG"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "PNG"),
        (b"\x00\x00\x00\x18ftypmp42" + b"\0" * 100, "damaged"),
    ],
    ids=["truncated image", "bomb", "nothing", "text", "playlist", "truncated video"],
)
def test_upload(http: str, project: projects_pb2.Project, data: bytes, word: str) -> None:
    url = f"{http}/v1/projects/{project.id}/assets"
    answer = httpx.post(url, content=data, headers={"content-type": "application/octet-stream"})
    assert answer.status_code == 400, answer.text
    assert word in answer.json()["message"]
    assert httpx.get(url).json().get("assets", []) == [], "nothing is stored"


def test_upload_of_five_gigabytes_is_refused_at_once(http: str, project: projects_pb2.Project) -> None:
    """Only its head is sent: the answer comes without the body."""
    parts = urlsplit(http)
    head = (
        f"POST /v1/projects/{project.id}/assets HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Type: image/png\r\nContent-Length: {5 * 1024**3}\r\n\r\n"
    )
    with socket.create_connection((str(parts.hostname), parts.port or 80), timeout=10) as connection:
        connection.sendall(head.encode())
        answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 400")
    status = json.loads(answer[answer.index("{") :])
    assert status["code"] == 3
    assert "content" in json.dumps(status)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"points": [{"x": 1, "y": 1}]}, "image"),
        ({"image": {"asset_id": "nothing"}, "points": [{"x": 1, "y": 1}]}, "image.asset_id"),
        ({"image": {"asset_id": "a"}}, "points"),
        ({"image": {"asset_id": "a"}, "boxes": [{"x0": 5, "y0": 5, "x1": 1, "y1": 9}]}, "boxes[0]"),
    ],
)
def test_segmentation(http: str, body: Mapping[str, Any], field: str) -> None:
    answer = httpx.post(f"{http}/v1/segmentation:predict", json=body)
    assert answer.status_code in (400, 404), answer.text
    assert field in _fields(answer)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/nothing"),
        ("GET", "/v1/jobs/nothing:watch"),
        ("POST", "/v1/jobs/nothing:cancel"),
        ("GET", "/v1/assets/nothing"),
        ("GET", "/v1/assets/nothing/content"),
        ("DELETE", "/v1/projects/nothing"),
        ("GET", "/v1/models/nothing"),
        ("GET", "/v1/nothing"),
        ("GET", "/media/projects/nothing.png"),
    ],
)
def test_unknown_things(http: str, method: str, path: str) -> None:
    answer = httpx.request(method, http + path, json={} if method == "POST" else None)
    assert answer.status_code == 404, answer.text
    assert answer.json()["code"] == 5


def test_feature_that_comes_later_says_so(http: str, project: projects_pb2.Project) -> None:
    answer = httpx.get(f"{http}/v1/projects/{project.id}/storyboard")
    assert answer.status_code == 501, answer.text
    assert "storing storyboards" in answer.json()["message"]


def test_unknown_loras_are_named(http: str, project: projects_pb2.Project) -> None:
    answer = httpx.post(f"{http}/v1/projects/{project.id}/videos", json={**VIDEO, "loras": [{"name": "rain"}]})
    assert answer.status_code == 404, answer.text
    assert _fields(answer) == ["video.loras[0].name"]


def _fields(answer: httpx.Response) -> list[str]:
    """The fields that the answer names; also checks that it is a clean Status."""
    status = answer.json()
    assert status["code"] in (3, 5)
    assert "Traceback" not in answer.text
    info = [detail for detail in status["details"] if detail["@type"].endswith("ErrorInfo")]
    assert [detail["domain"] for detail in info] == ["milimo"]
    requests = [detail for detail in status["details"] if detail["@type"].endswith("BadRequest")]
    return [violation["field"] for request in requests for violation in request["field_violations"]]
