"""Requests that come again: each RPC that changes something does it once for a request_id, and answers the same."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import symbol_database
from milimo.v1 import assets_pb2, elements_pb2, jobs_pb2, projects_pb2
from milimo_deploy.doc_rpcs import SERVICERS, existing
from milimo_gateway.contract import read_contract
from milimo_runtime.jobs import JobKind, JobState, NewJob, Subject

from .board import Storyboard, png, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from milimo_runtime.job_store import JobStore

# Of other processes: requests for jobs, whose repeats the job store's tests and those of the services look at.
ELSEWHERE = {
    # Jobs of the image process, asked for by the storyboard: test_element_visuals.py looks at them.
    ("ElementService", "GenerateElementVisual"),
    ("ElementService", "SubmitElementVisual"),
    ("ImageService", "GenerateImage"),
    ("ImageService", "SubmitImage"),
    ("ImageService", "Inpaint"),
    ("ImageService", "SubmitInpaint"),
    ("MemoryArbiter", "ReclaimMemory"),
    ("MemoryArbiter", "RevokeLease"),
    ("VideoService", "GenerateVideo"),
    ("VideoService", "SubmitVideo"),
}


@dataclass
class Studio:
    """A project with an asset, and jobs that have ended and that have not."""

    board: Storyboard
    project: str
    asset: str
    element: str
    ended: str
    waiting: str
    other: str


@dataclass(frozen=True)
class Repeat:
    """A request, and how the same id would be used for another one."""

    request: Callable[[Studio], Any]
    change: Callable[[Any, Studio], None]
    # How a request without an id ends when it comes a second time.
    again: grpc.StatusCode = grpc.StatusCode.OK


def rename(request: Any, studio: Studio) -> None:
    request.project.name = "another"


def other_job(request: Any, studio: Studio) -> None:
    request.job_id = studio.other


def other_kind(request: Any, studio: Studio) -> None:
    request.keep_partial = True


def other_asset(request: Any, studio: Studio) -> None:
    request.asset_id = "another"


def other_project(request: Any, studio: Studio) -> None:
    request.project_id = "another"


def other_name(request: Any, studio: Studio) -> None:
    request.asset.name = "another"


def other_element(request: Any, studio: Studio) -> None:
    request.element_id = "another"


def other_description(request: Any, studio: Studio) -> None:
    request.element.description = "another"


REPEATS: Mapping[tuple[str, str], Repeat] = {
    ("ProjectService", "CreateProject"): Repeat(
        lambda studio: projects_pb2.CreateProjectRequest(project=projects_pb2.Project(name="new")), rename
    ),
    ("ProjectService", "UpdateProject"): Repeat(
        lambda studio: projects_pb2.UpdateProjectRequest(project=projects_pb2.Project(id=studio.project, name="new")),
        rename,
    ),
    ("ProjectService", "DeleteProject"): Repeat(
        lambda studio: projects_pb2.DeleteProjectRequest(project_id=studio.project),
        other_project,
        grpc.StatusCode.NOT_FOUND,
    ),
    ("AssetService", "UpdateAsset"): Repeat(
        lambda studio: assets_pb2.UpdateAssetRequest(asset=assets_pb2.Asset(id=studio.asset, name="new")), other_name
    ),
    ("AssetService", "DeleteAsset"): Repeat(
        lambda studio: assets_pb2.DeleteAssetRequest(asset_id=studio.asset), other_asset, grpc.StatusCode.NOT_FOUND
    ),
    ("ElementService", "CreateElement"): Repeat(
        lambda studio: elements_pb2.CreateElementRequest(
            project_id=studio.project,
            element=elements_pb2.Element(name="new", type=elements_pb2.ELEMENT_TYPE_OBJECT),
        ),
        other_description,
        grpc.StatusCode.ALREADY_EXISTS,
    ),
    ("ElementService", "UpdateElement"): Repeat(
        lambda studio: elements_pb2.UpdateElementRequest(
            element=elements_pb2.Element(id=studio.element, description="new")
        ),
        other_description,
    ),
    ("ElementService", "DeleteElement"): Repeat(
        lambda studio: elements_pb2.DeleteElementRequest(element_id=studio.element),
        other_element,
        grpc.StatusCode.NOT_FOUND,
    ),
    ("JobService", "CancelJob"): Repeat(lambda studio: jobs_pb2.CancelJobRequest(job_id=studio.waiting), other_kind),
    ("JobService", "RetryJob"): Repeat(lambda studio: jobs_pb2.RetryJobRequest(job_id=studio.ended), other_job),
    ("JobService", "DeleteJob"): Repeat(
        lambda studio: jobs_pb2.DeleteJobRequest(job_id=studio.ended), other_job, grpc.StatusCode.NOT_FOUND
    ),
}


def test_every_rpc_that_takes_a_request_id_is_looked_at() -> None:
    """A new one has to be added here, and so is made to answer repeats."""
    messages = symbol_database.Default()
    found = set()
    for service in read_contract():
        name = service.name.removeprefix("milimo.v1.")
        if name not in SERVICERS:
            continue
        described = messages.pool.FindServiceByName(service.name)
        for method in described.methods:
            if (name, method.name) in existing() and "request_id" in method.input_type.fields_by_name:
                found.add((name, method.name))
    uploads = {("AssetService", "UploadAsset")}
    assert found == {*REPEATS, *ELSEWHERE, *uploads}


@pytest.fixture
async def studio(storyboard: Storyboard, store: JobStore) -> Studio:
    project = (await storyboard.project()).id
    asset = (await storyboard.upload(project, png())).id
    element = elements_pb2.Element(name="Zoë", type=elements_pb2.ELEMENT_TYPE_CHARACTER)
    creating = elements_pb2.CreateElementRequest(project_id=project, element=element)

    def job(project_id: str, *, ended: bool) -> str:
        new = NewJob(kind=JobKind.VIDEO, subject=Subject(project_id=project_id), parameters={})
        made, _ = store.submit(new, service="video", worker_address="127.0.0.1:1")
        if ended:
            begun, _ = store.begin_attempt(made.id)
            store.finish(made.id, begun.attempt, JobState.FAILED)
        return made.id

    elsewhere = (await storyboard.project()).id
    return Studio(
        board=storyboard,
        project=project,
        asset=asset,
        element=(await storyboard.elements.CreateElement(creating)).element.id,
        ended=job(project, ended=True),
        waiting=job(elsewhere, ended=False),
        other=job(elsewhere, ended=True),
    )


@pytest.mark.parametrize("rpc", REPEATS, ids=lambda rpc: rpc[1])
async def test_a_repeat_does_nothing_and_gets_the_first_answer(studio: Studio, rpc: tuple[str, str]) -> None:
    case = REPEATS[rpc]
    stub = {
        "ProjectService": studio.board.projects,
        "AssetService": studio.board.assets,
        "ElementService": studio.board.elements,
        "JobService": studio.board.jobs,
    }[rpc[0]]
    call = getattr(stub, rpc[1])

    request = case.request(studio)
    request.request_id = str(uuid.uuid4())
    first = await call(request)
    assert await call(request) == first
    assert await asyncio.gather(*(call(request) for _ in range(4))) == [first] * 4

    # The id stands for this request, whatever has become of what it names.
    changed = type(request)()
    changed.CopyFrom(request)
    case.change(changed, studio)
    assert (await refused(call(changed)))[0] is grpc.StatusCode.ALREADY_EXISTS
    foreign = projects_pb2.CreateProjectRequest(project=projects_pb2.Project(name="x"), request_id=request.request_id)
    assert (await refused(studio.board.projects.CreateProject(foreign)))[0] is grpc.StatusCode.ALREADY_EXISTS

    request.ClearField("request_id")
    if case.again is grpc.StatusCode.OK:
        await call(request)
    else:
        assert (await refused(call(request)))[0] is case.again
    assert studio.board.process.errors() == []


async def test_a_request_that_was_refused_may_come_again(studio: Studio) -> None:
    """Only what was done is remembered."""
    request_id = str(uuid.uuid4())
    deleting = jobs_pb2.DeleteJobRequest(job_id=studio.waiting, request_id=request_id)
    assert (await refused(studio.board.jobs.DeleteJob(deleting)))[0] is grpc.StatusCode.FAILED_PRECONDITION
    deleting.job_id = studio.ended
    await studio.board.jobs.DeleteJob(deleting)
    await studio.board.jobs.DeleteJob(deleting)
