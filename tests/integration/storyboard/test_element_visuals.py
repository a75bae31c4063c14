"""Pictures of elements: jobs of the image process that the storyboard asks for, watched and steered as every job."""

from __future__ import annotations

import asyncio
import signal
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from milimo.v1 import elements_pb2, image_pb2, image_pb2_grpc, jobs_pb2
from milimo_runtime.channels import open_channel
from milimo_runtime.jobs import Notice
from milimo_runtime.registry import ModelFootprint, write_manifest
from milimo_runtime.schema import AnsweredRow, ElementRow

from .board import ONLY_SQLITE, PATIENCE_S, Storyboard, png, refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from milimo_runtime.database import Database
    from milimo_runtime.job_store import JobStore

# The process is the same on both; what it asks of the database is looked at elsewhere.
pytestmark = ONLY_SQLITE


@pytest.fixture
async def mesh(
    tmp_path: Path,
    database_url: str,
    service_process: Callable[..., AbstractAsyncContextManager[Any]],
    free_address: Callable[[], str],
) -> AsyncIterator[tuple[Storyboard, Any]]:
    """The storyboard and the image process, on a model without weights. Without an arbiter its jobs wait for memory."""
    home, board, images = tmp_path / "home", free_address(), free_address()
    model = home / "models/tiny/flux-2"
    model.mkdir(parents=True)
    manifest = {"name": "flux-2", "family": "tiny", "purpose": "image", "checkpoint": "distilled"}
    manifest |= dict.fromkeys(("license", "note", "advice"), "")
    write_manifest(model, manifest, footprints=[ModelFootprint(name="float32", bytes=1000)])
    environment = {
        "MILIMO_HOME": home,
        "MILIMO_MODEL_FAMILY": "tiny",
        "MILIMO_DATABASE_URL": database_url,
        "MILIMO_STORYBOARD_ADDRESS": board,
        "MILIMO_ARBITER_ADDRESS": free_address(),
        "MILIMO_VIDEO_ADDRESS": free_address(),
        "MILIMO_SEGMENTATION_ADDRESS": free_address(),
        "MILIMO_IMAGE_ADDRESS": images,
    }

    @asynccontextmanager
    async def process(module: str, address: str) -> AsyncIterator[tuple[Any, Any]]:
        async with service_process("-m", module, environment=environment) as running:
            channel = open_channel(address)
            async with asyncio.timeout(PATIENCE_S):
                await channel.channel_ready()
            yield running, channel
            await channel.close()

    async with (
        process("milimo_storyboard", board) as (running, channel),
        process("milimo_image", images) as (image_process, image_channel),
    ):
        storyboard = Storyboard(running, board, channel, home)
        storyboard.image_process = image_process  # type: ignore[attr-defined]
        yield storyboard, image_pb2_grpc.ImageServiceStub(image_channel)


async def element(board: Storyboard, project: str, **fields: Any) -> elements_pb2.Element:
    made = elements_pb2.Element(**{"name": "Zoë", "type": elements_pb2.ELEMENT_TYPE_CHARACTER, **fields})
    request = elements_pb2.CreateElementRequest(project_id=project, element=made)
    return (await board.elements.CreateElement(request)).element


async def test_a_picture_is_a_job_of_the_image_process(mesh: tuple[Storyboard, Any], database: Database) -> None:
    board, _ = mesh
    project = (await board.project()).id
    zoe = await element(board, project, description="a tall keeper in a blue coat.")
    request_id = str(uuid.uuid4())
    request = elements_pb2.SubmitElementVisualRequest(element_id=zoe.id, seed=7, request_id=request_id)
    job = (await board.elements.SubmitElementVisual(request)).job
    assert job.kind == jobs_pb2.JOB_KIND_ELEMENT_VISUAL
    assert (job.subject.project_id, job.subject.element_id) == (project, zoe.id)
    # Its own words stay as they are: it is not described twice.
    assert job.parameters["prompt"].startswith("Character sheet of Zoë: a tall keeper in a blue coat. Full body")
    assert (job.parameters["original_prompt"], job.parameters["references"].values) == ("", [])
    assert [job.parameters[name] for name in ("width", "height", "seed")] == [1024, 1024, 7]

    # A repeat finds it, by either door, also when the element is another one by now.
    change = elements_pb2.Element(id=zoe.id, description="small")
    await board.elements.UpdateElement(elements_pb2.UpdateElementRequest(element=change))
    assert (await board.elements.SubmitElementVisual(request)).job.id == job.id
    # And when the process died between the job and the record of its answer.
    with database.write() as session:
        session.delete(session.get_one(AnsweredRow, request_id))
    assert (await board.elements.SubmitElementVisual(request)).job.id == job.id
    changed = elements_pb2.SubmitElementVisualRequest(element_id=zoe.id, seed=8, request_id=request_id)
    assert (await refused(board.elements.SubmitElementVisual(changed)))[0] is grpc.StatusCode.ALREADY_EXISTS
    asked = elements_pb2.GenerateElementVisualRequest(element_id=zoe.id, seed=7, request_id=request_id)
    watches = [board.elements.GenerateElementVisual(asked) for _ in range(2)]
    firsts = [await anext(aiter(watch)) for watch in watches]
    assert [first.accepted.job.id for first in firsts] == [job.id] * 2

    await board.jobs.CancelJob(jobs_pb2.CancelJobRequest(job_id=job.id))
    async with asyncio.timeout(PATIENCE_S):
        told = await asyncio.gather(*(_durable(watch) for watch in watches))
    assert told[0] == told[1]
    assert told[0][-1] == jobs_pb2.JOB_STATE_CANCELLED
    again = (await board.jobs.RetryJob(jobs_pb2.RetryJobRequest(job_id=job.id))).job
    assert (again.retry_of, again.kind, again.subject) == (job.id, job.kind, job.subject)

    # Those who ask at once are one.
    place = await element(board, project, name="The Lighthouse", type=elements_pb2.ELEMENT_TYPE_LOCATION)
    request = elements_pb2.SubmitElementVisualRequest(element_id=place.id, request_id=str(uuid.uuid4()))
    answers = await asyncio.gather(*(board.elements.SubmitElementVisual(request) for _ in range(6)))
    assert len({answer.job.id for answer in answers}) == 1
    assert answers[0].job.parameters["prompt"].startswith("Establishing view of The Lighthouse. ")
    listed = await board.jobs.ListJobs(jobs_pb2.ListJobsRequest(project_id=project))
    assert [one.id for one in listed.jobs] == [answers[0].job.id, again.id, job.id]
    assert board.process.errors() == []

    with database.write() as session:
        session.get_one(ElementRow, zoe.id).image_asset_ids = [f"image{number}" for number in range(100)]
    full = elements_pb2.SubmitElementVisualRequest(element_id=zoe.id)
    assert (await refused(board.elements.SubmitElementVisual(full)))[0] is grpc.StatusCode.FAILED_PRECONDITION

    # Without the image process nothing is promised; what was promised is found.
    image_process = board.image_process  # type: ignore[attr-defined]
    image_process.signal(signal.SIGKILL)
    await image_process.wait()
    assert (await board.elements.SubmitElementVisual(request)).job.id == answers[0].job.id
    request.request_id = str(uuid.uuid4())
    assert (await refused(board.elements.SubmitElementVisual(request)))[0] is grpc.StatusCode.UNAVAILABLE


async def _durable(watch: Any) -> list[int]:
    return [event.state async for event in watch if event.durable]


async def test_prompts_are_resolved_when_the_job_is_taken_in(mesh: tuple[Storyboard, Any], store: JobStore) -> None:
    """The job keeps both prompts, and the references: what becomes of the element later changes nothing."""
    board, images = mesh
    project, other = (await board.project()).id, (await board.project()).id
    pictures = [(await board.upload(project, png((96, 64)))).id for _ in range(12)]
    narrow = (await board.upload(project, png((64, 8)))).id
    zoe = await element(
        board, project, trigger_word="@Zoe", description="tall", image_asset_ids=[narrow, *pictures[:6]]
    )
    lamp = await element(board, project, name="Lamp", description="brass", image_asset_ids=pictures[6:])
    await element(board, other, name="Sea", description="of another project")

    async def submitted(**fields: Any) -> tuple[jobs_pb2.Job, list[str]]:
        parameters = image_pb2.ImageParameters(width=64, height=64, **fields)
        job = (await images.SubmitImage(image_pb2.SubmitImageRequest(project_id=project, image=parameters))).job
        return job, [event.body.code for event in store.events(job.id) if isinstance(event.body, Notice)]

    def references(job: jobs_pb2.Job) -> list[str]:
        return [reference["asset_id"] for reference in job.parameters["references"]]  # type: ignore[index]

    job, notices = await submitted(prompt="@zoe at the sea", reference_asset_ids=pictures[1:2])
    assert (job.parameters["prompt"], job.parameters["original_prompt"]) == ("Zoë (tall) at the sea", "@zoe at the sea")
    assert references(job) == [pictures[1], pictures[0], *pictures[2:6]]
    assert notices == ["ELEMENTS_SHOWN", "ELEMENT_IMAGES_UNFIT"]

    job, notices = await submitted(prompt="Zoë waits", element_ids=[lamp.id])
    assert job.parameters["prompt"] == "Zoë (tall) waits. Lamp (brass)"
    assert references(job) == [*pictures[6:11], *pictures[:5]]
    assert notices == ["ELEMENTS_SHOWN", "ELEMENT_IMAGES_LEFT_OUT", "ELEMENT_IMAGES_UNFIT"]

    job, notices = await submitted(prompt="the sea")
    assert (job.parameters["prompt"], job.parameters["original_prompt"]) == ("the sea", "")
    assert (references(job), notices) == ([], [])

    async def repainted(*element_ids: str) -> jobs_pb2.Job:
        inpaint = image_pb2.InpaintParameters(
            prompt="@Zoe",
            asset_id=pictures[9],
            mask_asset_id=pictures[9],
            element_ids=element_ids,
            reference_mode=image_pb2.REFERENCE_MODE_TOKENS,
        )
        request = image_pb2.SubmitInpaintRequest(project_id=project, inpaint=inpaint)
        job: jobs_pb2.Job = (await images.SubmitInpaint(request)).job
        assert job.parameters["reference_mode"] == "tokens"
        return job

    job = await repainted()
    assert (job.parameters["prompt"], references(job)) == ("Zoë (tall)", pictures[:6])
    job = await repainted(lamp.id)
    assert (job.parameters["prompt"], references(job)) == (
        "Zoë (tall). Lamp (brass)",
        [*pictures[6:11], *pictures[:5]],
    )
    assert await refused(repainted("nothing")) == (grpc.StatusCode.NOT_FOUND, ["inpaint.element_ids[0]"])

    for fields, field, status in (
        ({"prompt": "x", "element_ids": [lamp.id, "nothing"]}, "image.element_ids[1]", grpc.StatusCode.NOT_FOUND),
        ({"prompt": "x", "element_id": "nothing"}, "image.element_id", grpc.StatusCode.NOT_FOUND),
        ({"prompt": "@Zoe" + " x" * 4996}, "image.prompt", grpc.StatusCode.INVALID_ARGUMENT),
    ):
        assert await refused(submitted(**fields)) == (status, [field])
    await board.elements.DeleteElement(elements_pb2.DeleteElementRequest(element_id=zoe.id))
    assert (await submitted(prompt="@Zoe waits"))[0].parameters["prompt"] == "@Zoe waits"
