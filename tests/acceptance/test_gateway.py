"""The gateway in front of the real mesh: events as they happen, reflection, media with byte ranges."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from milimo.v1 import image_pb2, video_pb2

if TYPE_CHECKING:
    from milimo import Milimo
    from milimo.v1 import projects_pb2
    from milimo_deploy.running import RunningMesh

BUF = Path(sys.executable).parent / "buf"
# A service of each process that a client may ask by reflection.
SERVICE_OF = {
    "arbiter": "MemoryArbiter",
    "video": "VideoService",
    "image": "ImageService",
    "segmentation": "SegmentationService",
    "storyboard": "JobService",
    "edge": "CompatService",
}


def _buf(*arguments: str) -> str:
    command = [str(BUF), "curl", "--http2-prior-knowledge", "--protocol", "grpc", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl_prints_events_as_they_happen(client: Milimo, project: projects_pb2.Project, http: str) -> None:
    """Each event of the stream arrives before the job's end, not all at once with it."""
    job = client.videos.SubmitVideo(
        video_pb2.SubmitVideoRequest(
            project_id=project.id,
            video=video_pb2.VideoParameters(prompt="rain", num_frames=121, width=256, height=128),
        )
    ).job
    command = ["curl", "--silent", "--no-buffer", f"{http}/v1/jobs/{job.id}:watch"]
    states = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
        assert curl.stdout is not None
        for line in curl.stdout:
            if line.startswith("data:"):
                event = json.loads(line.removeprefix("data:"))
                # A second call asks how the job stands while the stream is open.
                now = httpx.get(f"{http}/v1/jobs/{job.id}").json()["job"]["state"]
                states.append((event["state"], now))
    assert any(now == "JOB_STATE_RUNNING" for _, now in states), "events came while the job ran"
    assert states[-1][0] == "JOB_STATE_SUCCEEDED"


@pytest.mark.parametrize(("process", "service"), SERVICE_OF.items())
def test_reflection_of_each_process(mesh: RunningMesh, process: str, service: str) -> None:
    methods = _buf(f"http://{mesh.addresses[process]}", "--list-methods").split()
    assert any(method.startswith(f"milimo.v1.{service}/") for method in methods)


def test_reflection_through_the_gateway(http: str) -> None:
    services = {method.split("/")[0] for method in _buf(http, "--list-methods").split()}
    assert services >= {f"milimo.v1.{service}" for service in SERVICE_OF.values()}
    assert "milimo.v1.WorkerService" not in services, "internal services are not shown"
    assert json.loads(_buf(f"{http}/milimo.v1.JobService/ListJobs", "--data", "{}")) is not None


def test_media_are_served_with_byte_ranges(client: Milimo, project: projects_pb2.Project, http: str) -> None:
    request = image_pb2.SubmitImageRequest(
        project_id=project.id, image=image_pb2.ImageParameters(prompt="a boat", width=64, height=64, seed=1)
    )
    (asset,) = client.watch(client.images.SubmitImage(request).job.id).result().assets
    whole = httpx.get(http + asset.url)
    assert whole.status_code == 200
    assert len(whole.content) == asset.bytes
    part = httpx.get(http + asset.url, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert httpx.get(http + asset.thumbnail_url).content.startswith(b"\xff\xd8\xff")


def test_light_processes_never_load_torch(mesh: RunningMesh, client: Milimo, project: projects_pb2.Project) -> None:
    for name in ("arbiter", "storyboard", "edge", "gateway"):
        maps = Path(f"/proc/{mesh.pid(name)}/maps").read_text(encoding="utf-8")
        assert "libtorch" not in maps, name
