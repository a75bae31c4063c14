"""Elements through the gateway: kept, named in prompts, and given pictures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from milimo.cli import build_app
from milimo.v1 import elements_pb2, image_pb2, jobs_pb2, video_pb2
from PIL import Image
from typer.testing import CliRunner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from milimo import Milimo
    from milimo.v1 import projects_pb2
    from milimo_deploy.running import RunningMesh


def curl(method: str, url: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    """The status and the answer."""
    command = ["curl", "--silent", "--request", method, "--write-out", "\n%{http_code}", url]
    if body is not None:
        command += ["--header", "content-type: application/json", "--data", json.dumps(body)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    answer, status = done.stdout.rsplit("\n", 1)
    return int(status), json.loads(answer)


def test_curl_keeps_elements(project: projects_pb2.Project, http: str) -> None:
    elements = f"{http}/v1/projects/{project.id}/elements"
    zoe = {"name": "Zoë", "type": "ELEMENT_TYPE_CHARACTER", "description": "tall"}
    status, answer = curl("POST", elements, zoe)
    assert status == 200
    made = answer["element"]
    assert made | zoe == made
    assert made["trigger_word"] == "@Zoë"
    status, answer = curl("POST", elements, zoe)
    assert (status, answer["details"][0]["reason"]) == (409, "TRIGGER_TAKEN")
    status, answer = curl("POST", elements, {"name": "Lamp"})
    assert (status, answer["details"][1]["field_violations"][0]["field"]) == (400, "element.type")

    one = f"{http}/v1/elements/{made['id']}"
    assert curl("PATCH", one, {"description": "small"})[1]["element"]["description"] == "small"
    assert curl("GET", one)[1]["element"]["description"] == "small"
    assert [element["id"] for element in curl("GET", elements)[1]["elements"]] == [made["id"]]
    status, answer = curl("POST", f"{one}:visualize", {"seed": 3})
    assert (status, answer["job"]["subject"]["element_id"]) == (200, made["id"])
    assert curl("POST", f"{http}/v1/jobs/{answer['job']['id']}:cancel", {})[0] == 200
    assert curl("DELETE", one) == (200, {})
    assert curl("GET", one)[0] == 404


@pytest.fixture
def milimo(mesh: RunningMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs the command in an empty folder; what it prints on stdout."""
    monkeypatch.chdir(tmp_path)
    app = build_app()

    def run(*arguments: str) -> str:
        environment = {"MILIMO_ADDRESS": mesh.address, "MILIMO_HOME": str(tmp_path / "home")}
        done = CliRunner().invoke(app, arguments, env=environment)
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    return run


def test_the_command_keeps_elements(
    milimo: Callable[..., str], project: projects_pb2.Project, client: Milimo, tmp_path: Path
) -> None:
    Image.new("RGB", (96, 64), "navy").save(tmp_path / "zoe.png")
    where = ("--project", project.id)
    zoe = milimo("elements", "create", "Zoë", "--type", "character", "--image", "zoe.png", "--trigger", "@z", *where)
    milimo("elements", "update", "@z", "--description", "a tall keeper", "--add-image", "zoe.png", *where)
    shown = json.loads(milimo("elements", "show", "Zoë", "--json", *where))["element"]
    assert (shown["id"], shown["description"], len(shown["image_asset_ids"])) == (zoe, "a tall keeper", 2)
    assert "@z\tZoë\t2\ta tall keeper" in milimo("elements", "list", *where)
    job = milimo("elements", "visual", zoe, "--seed", "1", "--no-wait", *where)
    assert client.jobs.CancelJob(jobs_pb2.CancelJobRequest(job_id=job)).job.subject.element_id == zoe
    shown = milimo("image", "generate", "the sea", "--element", "@z", "--no-wait", *where)
    prompt = client.jobs.GetJob(jobs_pb2.GetJobRequest(job_id=shown)).job.parameters["prompt"]
    assert prompt == "the sea. Zoë (a tall keeper)"
    client.jobs.CancelJob(jobs_pb2.CancelJobRequest(job_id=shown))
    milimo("elements", "update", zoe, "--image", "", *where)
    assert json.loads(milimo("elements", "show", zoe, "--json", *where))["element"]["image_asset_ids"] == []
    milimo("elements", "delete", "Zoë", "--yes", *where)
    assert json.loads(milimo("elements", "list", "--json", *where)) == {"elements": []}


def test_a_picture_reaches_its_element_and_then_images_and_videos(
    client: Milimo, project: projects_pb2.Project, mesh: RunningMesh, tmp_path: Path
) -> None:
    """The storyboard dies while the picture is made: it belongs to the element all the same."""
    lamp = client.elements.CreateElement(
        elements_pb2.CreateElementRequest(
            project_id=project.id,
            element=elements_pb2.Element(name="Brass lamp", type=elements_pb2.ELEMENT_TYPE_OBJECT, description="old"),
        )
    ).element
    job = client.elements.SubmitElementVisual(elements_pb2.SubmitElementVisualRequest(element_id=lamp.id, seed=1)).job
    os.kill(mesh.pid("storyboard"), signal.SIGKILL)
    mesh.wait_until_healthy()
    done = client.watch(job.id).result()
    assert done.state == jobs_pb2.JOB_STATE_SUCCEEDED, done
    (picture,) = done.assets
    assert (picture.width, picture.height) == (1024, 1024)
    lamp = client.elements.GetElement(elements_pb2.GetElementRequest(element_id=lamp.id)).element
    assert list(lamp.image_asset_ids) == [picture.id]

    def image(prompt: str) -> tuple[list[str], jobs_pb2.Job]:
        parameters = image_pb2.ImageParameters(
            prompt=prompt, width=64, height=64, seed=3, format=image_pb2.IMAGE_FORMAT_PNG
        )
        request = image_pb2.SubmitImageRequest(project_id=project.id, image=parameters)
        return ended(client, client.images.SubmitImage(request).job)

    told, named = image("the @brasslamp burns")
    assert told == ["ELEMENTS_SHOWN"]
    assert named.parameters["prompt"] == "the Brass lamp (old) burns"
    assert named.parameters["original_prompt"] == "the @brasslamp burns"
    pixels = [
        client.download(one.assets[0].id, tmp_path / f"{one.id}.png") for one in (named, image("the lamp burns")[1])
    ]
    first, second = (np.asarray(Image.open(path)) for path in pixels)
    assert (first != second).any()

    video = video_pb2.VideoParameters(prompt="a brass lamp falls", num_frames=9, width=64, height=64, seed=1)
    request = video_pb2.SubmitVideoRequest(project_id=project.id, video=video)
    told, made = ended(client, client.videos.SubmitVideo(request).job)
    assert {"ELEMENTS_SHOWN", "ELEMENT_START_IMAGE"} <= set(told)
    assert made.parameters["prompt"] == "a brass lamp (old) falls"
    assert made.parameters["original_prompt"] == "a brass lamp falls"
    (condition,) = made.parameters["conditions"]  # type: ignore[misc]
    assert (condition["asset_id"], condition["frame_index"]) == (picture.id, 0)  # type: ignore[index,call-overload]


def ended(client: Milimo, job: jobs_pb2.Job) -> tuple[list[str], jobs_pb2.Job]:
    """The codes of the job's notices, and the job that has succeeded."""
    watch = client.watch(job.id)
    notices = [event.notice.code for event in watch if event.HasField("notice")]
    result = watch.result()
    assert result.state == jobs_pb2.JOB_STATE_SUCCEEDED, result
    return notices, result
