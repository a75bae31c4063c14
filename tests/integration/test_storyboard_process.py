"""The storyboard as a real process, from the outside."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf import field_mask_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from milimo.v1 import (
    assets_pb2,
    assets_pb2_grpc,
    elements_pb2,
    elements_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    projects_pb2,
    projects_pb2_grpc,
    storyboard_pb2,
    storyboard_pb2_grpc,
)
from milimo_runtime.channels import open_channel
from milimo_runtime.jobs import JobKind, JobState, NewJob, Subject
from milimo_storyboard.__main__ import SERVICES
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from milimo_runtime.job_store import JobStore

PATIENCE_S = 30.0
MIB = 1 << 20
ONLY_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Storyboard:
    """The running process and its stubs."""

    def __init__(self, process: Any, address: str, channel: grpc.aio.Channel, home: Path) -> None:
        self.address = address
        self.process = process
        self.channel = channel
        self.home = home
        self.projects = projects_pb2_grpc.ProjectServiceStub(channel)
        self.assets = assets_pb2_grpc.AssetServiceStub(channel)
        self.jobs = jobs_pb2_grpc.JobServiceStub(channel)
        self.models = models_pb2_grpc.ModelServiceStub(channel)
        self.scripts = storyboard_pb2_grpc.StoryboardServiceStub(channel)
        self.elements = elements_pb2_grpc.ElementServiceStub(channel)

    async def project(self, name: str = "A film", **fields: Any) -> projects_pb2.Project:
        request = projects_pb2.CreateProjectRequest(project=projects_pb2.Project(name=name, **fields))
        return (await self.projects.CreateProject(request)).project

    async def upload(
        self, project_id: str, data: bytes, *, piece: int = MIB, name: str = "file", size: int = 0, request_id: str = ""
    ) -> assets_pb2.Asset:
        def requests() -> Iterator[assets_pb2.UploadAssetRequest]:
            for start in range(0, max(len(data), 1), piece):
                request = assets_pb2.UploadAssetRequest()
                if start == 0:
                    request = assets_pb2.UploadAssetRequest(
                        project_id=project_id, name=name, size_bytes=size, request_id=request_id
                    )
                request.content.data = data[start : start + piece]
                yield request

        return (await self.assets.UploadAsset(requests(), timeout=PATIENCE_S)).asset

    async def download(self, asset_id: str, **span: int) -> bytes:
        call = self.assets.DownloadAsset(assets_pb2.DownloadAssetRequest(asset_id=asset_id, **span))
        return b"".join([body.data async for body in call])

    @property
    def media(self) -> list[str]:
        root = self.home / "media"
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())

    def mapped_files(self) -> str:
        return Path(f"/proc/{self.process.pid}/maps").read_text()

    def resident_bytes(self) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")


@pytest.fixture
async def storyboard(
    tmp_path: Path,
    database_url: str,
    service_process: Callable[..., AbstractAsyncContextManager[Any]],
    free_address: Callable[[], str],
) -> AsyncIterator[Storyboard]:
    home, address = tmp_path / "home", free_address()
    environment = {
        "MILIMO_HOME": home,
        "MILIMO_DATABASE_URL": database_url,
        "MILIMO_STORYBOARD_ADDRESS": address,
        "MILIMO_VIDEO_ADDRESS": free_address(),
        "MILIMO_IMAGE_ADDRESS": free_address(),
    }
    async with service_process("-m", "milimo_storyboard", environment=environment) as process:
        channel = open_channel(address)
        async with asyncio.timeout(PATIENCE_S):
            await channel.channel_ready()
        yield Storyboard(process, address, channel, home)
        await channel.close()


def png(size: tuple[int, int] = (64, 48)) -> bytes:
    data = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(data, "PNG")
    return data.getvalue()


async def refused(call: Any) -> tuple[grpc.StatusCode, list[str]]:
    """The status and the fields at fault."""
    with pytest.raises(grpc.RpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert info.domain == "milimo"
    if len(status.details) > 1:
        status.details[1].Unpack(request)
    return caught.value.code(), [violation.field for violation in request.field_violations]


async def read(call: Any) -> list[Any]:
    return [message async for message in call]


@ONLY_SQLITE
async def test_a_healthy_process_without_torch(storyboard: Storyboard) -> None:
    health = health_pb2_grpc.HealthStub(storyboard.channel)
    for service in ("", *SERVICES):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(storyboard.channel)
    [listed] = await read(
        reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    )
    assert {service.name for service in listed.list_services_response.service} >= set(SERVICES)

    mapped = storyboard.mapped_files()
    assert "torch" not in mapped
    # PyAV is loaded by the first video that is uploaded.
    assert "/av/" not in mapped
    assert storyboard.resident_bytes() < 250 * MIB

    storyboard.process.signal(signal.SIGTERM)
    assert await storyboard.process.wait() == 0
    assert storyboard.process.errors() == []


@pytest.mark.parametrize(
    "module", ["milimo_arbiter", "milimo_storyboard", "milimo_gateway", "milimo_video", "milimo_image"]
)
async def test_starting_imports_no_torch(module: str) -> None:
    program = (
        f"import sys, {module}.__main__; print([name for name in ('torch', 'diffusers', 'av') if name in sys.modules])"
    )
    process = await asyncio.create_subprocess_exec(
        os.sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert (process.returncode, output.decode().strip()) == (0, "[]"), errors.decode()


async def test_projects(storyboard: Storyboard) -> None:
    request_id = str(uuid.uuid4())
    request = projects_pb2.CreateProjectRequest(
        project=projects_pb2.Project(name="Erster Film ü"), request_id=request_id
    )
    made = (await storyboard.projects.CreateProject(request)).project
    assert (made.resolution_w, made.resolution_h, made.fps, made.HasField("seed")) == (768, 512, 25, False)
    assert (await storyboard.projects.CreateProject(request)).project == made
    request.project.name = "another"
    assert (await refused(storyboard.projects.CreateProject(request)))[0] is grpc.StatusCode.ALREADY_EXISTS

    changed = projects_pb2.Project(id=made.id, seed=0, fps=24, name="ignored")
    mask = field_mask_pb2.FieldMask(paths=["seed", "fps"])
    update = projects_pb2.UpdateProjectRequest(project=changed, update_mask=mask)
    updated = (await storyboard.projects.UpdateProject(update)).project
    assert (updated.name, updated.fps, updated.seed, updated.HasField("seed")) == ("Erster Film ü", 24, 0, True)
    assert updated.updated_at.ToNanoseconds() > made.updated_at.ToNanoseconds()
    mask = field_mask_pb2.FieldMask(paths=["seed"])
    update = projects_pb2.UpdateProjectRequest(project=projects_pb2.Project(id=made.id), update_mask=mask)
    assert not (await storyboard.projects.UpdateProject(update)).project.HasField("seed")
    update = projects_pb2.UpdateProjectRequest(project=projects_pb2.Project(id=made.id, name="No mask"))
    assert (await storyboard.projects.UpdateProject(update)).project.name == "No mask"

    others = [(await storyboard.project(str(number))).id for number in range(4)]
    found: list[str] = []
    token = ""
    while True:
        page = await storyboard.projects.ListProjects(projects_pb2.ListProjectsRequest(page_size=2, page_token=token))
        found += [project.id for project in page.projects]
        token = page.next_page_token
        if not token:
            break
        assert len(page.projects) == 2
        # The item at which the next page begins may be deleted meanwhile.
        await storyboard.projects.DeleteProject(projects_pb2.DeleteProjectRequest(project_id=found[-1]))
    assert found == [*reversed(others), made.id]


async def test_deleting_a_project_deletes_what_is_in_it(storyboard: Storyboard, store: JobStore) -> None:
    project, other = await storyboard.project(), await storyboard.project()
    asset, kept = await storyboard.upload(project.id, png()), await storyboard.upload(other.id, png())
    new = NewJob(kind=JobKind.VIDEO, subject=Subject(project_id=project.id), parameters={})
    job, _ = store.submit(new, service="video", worker_address="127.0.0.1:1")
    delete = projects_pb2.DeleteProjectRequest(project_id=project.id)
    assert (await refused(storyboard.projects.DeleteProject(delete)))[0] is grpc.StatusCode.FAILED_PRECONDITION
    cancelled = await storyboard.jobs.CancelJob(jobs_pb2.CancelJobRequest(job_id=job.id))
    assert cancelled.job.cancel_requested
    begun, _ = store.begin_attempt(job.id)
    store.finish(job.id, begun.attempt, JobState.CANCELLED)
    watched = await read(storyboard.jobs.WatchJob(jobs_pb2.WatchJobRequest(job_id=job.id)))
    assert [event.sequence for event in watched] == [1, 2]
    assert watched[0].accepted.job.state == jobs_pb2.JOB_STATE_QUEUED
    assert (await storyboard.jobs.ListJobs(jobs_pb2.ListJobsRequest(project_id=project.id))).jobs[0].id == job.id

    await storyboard.projects.DeleteProject(delete)
    assert (await refused(storyboard.projects.DeleteProject(delete)))[0] is grpc.StatusCode.NOT_FOUND
    for call in (
        storyboard.assets.GetAsset(assets_pb2.GetAssetRequest(asset_id=asset.id)),
        storyboard.jobs.GetJob(jobs_pb2.GetJobRequest(job_id=job.id)),
    ):
        assert (await refused(call))[0] is grpc.StatusCode.NOT_FOUND
    assert storyboard.media == [kept.url.removeprefix("/media/"), kept.thumbnail_url.removeprefix("/media/")]


def bad_requests(board: Storyboard, project: str, asset: str) -> Sequence[tuple[Any, grpc.StatusCode, str]]:
    """Calls that are the caller's fault, each with its status and the field at fault."""
    invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    project_of = projects_pb2.Project
    mask = field_mask_pb2.FieldMask
    return [
        (board.projects.CreateProject(projects_pb2.CreateProjectRequest()), invalid, "project"),
        (
            board.projects.CreateProject(projects_pb2.CreateProjectRequest(project=project_of(fps=1))),
            invalid,
            "project.fps",
        ),
        (
            board.projects.CreateProject(projects_pb2.CreateProjectRequest(project=project_of(resolution_h=4098))),
            invalid,
            "project.resolution_h",
        ),
        (
            board.projects.CreateProject(projects_pb2.CreateProjectRequest(project=project_of(name="\0"))),
            invalid,
            "project.name",
        ),
        (
            board.projects.CreateProject(projects_pb2.CreateProjectRequest(project=project_of(), request_id="1")),
            invalid,
            "request_id",
        ),
        (board.projects.GetProject(projects_pb2.GetProjectRequest(project_id="x" * 65)), invalid, "project_id"),
        (board.projects.GetProject(projects_pb2.GetProjectRequest(project_id="../etc")), missing, "project_id"),
        (board.projects.GetProject(projects_pb2.GetProjectRequest(project_id="'; --")), missing, "project_id"),
        (board.projects.ListProjects(projects_pb2.ListProjectsRequest(page_size=1001)), invalid, "page_size"),
        (board.projects.ListProjects(projects_pb2.ListProjectsRequest(page_token=project)), invalid, "page_token"),
        (
            board.projects.UpdateProject(projects_pb2.UpdateProjectRequest(project=project_of(id="nowhere", name="n"))),
            missing,
            "project.id",
        ),
        (
            board.projects.UpdateProject(
                projects_pb2.UpdateProjectRequest(
                    project=project_of(id=project), update_mask=mask(paths=["created_at"])
                )
            ),
            invalid,
            "update_mask",
        ),
        (
            board.projects.UpdateProject(
                projects_pb2.UpdateProjectRequest(
                    project=project_of(id=project), update_mask=mask(paths=["p" * 100_000])
                )
            ),
            invalid,
            "update_mask",
        ),
        (board.assets.GetAsset(assets_pb2.GetAssetRequest(asset_id="nowhere")), missing, "asset_id"),
        (board.assets.ListAssets(assets_pb2.ListAssetsRequest(project_id="nowhere")), missing, "project_id"),
        (board.assets.ListAssets(assets_pb2.ListAssetsRequest(project_id=project, kind=9)), invalid, "kind"),
        (
            board.assets.ListAssets(assets_pb2.ListAssetsRequest(project_id=project, page_token="x")),
            invalid,
            "page_token",
        ),
        (
            board.assets.UpdateAsset(assets_pb2.UpdateAssetRequest(asset=assets_pb2.Asset(id="nowhere", name="n"))),
            missing,
            "asset.id",
        ),
        (
            board.assets.UpdateAsset(
                assets_pb2.UpdateAssetRequest(asset=assets_pb2.Asset(id=asset), update_mask=mask(paths=["bytes"]))
            ),
            invalid,
            "update_mask",
        ),
        (board.assets.DeleteAsset(assets_pb2.DeleteAssetRequest(asset_id="nowhere")), missing, "asset_id"),
        (read(board.assets.DownloadAsset(assets_pb2.DownloadAssetRequest(asset_id="nowhere"))), missing, "asset_id"),
        (
            read(board.assets.DownloadAsset(assets_pb2.DownloadAssetRequest(asset_id=asset, offset=-1))),
            invalid,
            "offset",
        ),
        (
            read(board.assets.DownloadAsset(assets_pb2.DownloadAssetRequest(asset_id=asset, offset=2**40))),
            grpc.StatusCode.OUT_OF_RANGE,
            "offset",
        ),
        (board.upload("nowhere", png()), missing, "project_id"),
        (board.upload("", png()), missing, "project_id"),
        (board.upload(project, b""), invalid, "content"),
        (board.upload(project, b"no media at all"), invalid, "content"),
        (board.upload(project, png()[:-30]), invalid, "content"),
        (board.upload(project, png(), size=5 * 1024**3), invalid, "size_bytes"),
        (board.upload(project, png(), size=10), invalid, "size_bytes"),
        (board.upload(project, png(), name="n" * 201), invalid, "name"),
        (board.assets.UploadAsset(iter(())), invalid, "project_id"),
        (board.jobs.GetJob(jobs_pb2.GetJobRequest(job_id="nowhere")), missing, "job_id"),
        (board.jobs.CancelJob(jobs_pb2.CancelJobRequest(job_id="nowhere")), missing, "job_id"),
        (board.jobs.RetryJob(jobs_pb2.RetryJobRequest(job_id="nowhere")), missing, "job_id"),
        (board.jobs.DeleteJob(jobs_pb2.DeleteJobRequest(job_id="nowhere")), missing, "job_id"),
        (read(board.jobs.WatchJob(jobs_pb2.WatchJobRequest(job_id="nowhere"))), missing, "job_id"),
        (board.jobs.ListJobs(jobs_pb2.ListJobsRequest(states=[0])), invalid, "states[0]"),
        (board.jobs.ListJobs(jobs_pb2.ListJobsRequest(page_token="nonsense")), invalid, "page_token"),
        (board.models.GetModel(models_pb2.GetModelRequest(name="../x")), missing, "name"),
        (
            board.scripts.ParseScript(storyboard_pb2.ParseScriptRequest(script="INT. X", project_id="nowhere")),
            missing,
            "project_id",
        ),
    ]


async def test_bad_requests_are_the_callers_fault_and_name_the_field(storyboard: Storyboard) -> None:
    project = await storyboard.project()
    asset = await storyboard.upload(project.id, png())
    before = storyboard.media
    wrong = []
    for number, (call, code, field) in enumerate(bad_requests(storyboard, project.id, asset.id)):
        answer = await refused(call)
        if answer[0] is not code or field not in answer[1]:
            wrong.append((number, answer, (code, field)))
    assert wrong == []
    assert storyboard.media == before
    assert list((storyboard.home / "scratch/storyboard-local").iterdir()) == []
    assert storyboard.process.errors() == []
    answer, _ = await refused(storyboard.elements.ListElements(elements_pb2.ListElementsRequest(project_id=project.id)))
    assert answer is grpc.StatusCode.UNIMPLEMENTED


@ONLY_SQLITE
async def test_uploads_and_downloads(storyboard: Storyboard) -> None:
    project = await storyboard.project()
    data, request_id = png((700, 500)), str(uuid.uuid4())
    asset = await storyboard.upload(
        project.id, data, piece=10_000, size=len(data), name="Bild ü", request_id=request_id
    )
    assert (asset.kind, asset.width, asset.height, asset.bytes) == (assets_pb2.ASSET_KIND_IMAGE, 700, 500, len(data))
    assert (asset.name, asset.media_type, asset.job_id) == ("Bild ü", "image/png", "")
    assert asset.sha256 == hashlib.sha256(data).hexdigest()
    media = storyboard.media
    assert media == [asset.url.removeprefix("/media/"), asset.thumbnail_url.removeprefix("/media/")]
    with Image.open(storyboard.home / "media" / media[1]) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("JPEG", (175, 125))

    # In other pieces it is the same request; another file is not.
    assert await storyboard.upload(project.id, data, name="Bild ü", request_id=request_id) == asset
    code, _ = await refused(storyboard.upload(project.id, png(), name="Bild ü", request_id=request_id))
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert storyboard.media == media

    for offset, limit in ((0, 0), (0, 1), (5, 7), (len(data) - 1, 0), (len(data), 0), (10, 2**62)):
        assert await storyboard.download(asset.id, offset=offset, limit=limit) == data[offset:][: limit or None]
    listed = await storyboard.assets.ListAssets(assets_pb2.ListAssetsRequest(project_id=project.id))
    assert list(listed.assets) == [asset]
    none = assets_pb2.ListAssetsRequest(project_id=project.id, kind=assets_pb2.ASSET_KIND_VIDEO)
    assert list((await storyboard.assets.ListAssets(none)).assets) == []
    rename = assets_pb2.UpdateAssetRequest(asset=assets_pb2.Asset(id=asset.id, name="neu"))
    assert (await storyboard.assets.UpdateAsset(rename)).asset.name == "neu"
    await storyboard.assets.DeleteAsset(assets_pb2.DeleteAssetRequest(asset_id=asset.id))
    assert storyboard.media == []


@ONLY_SQLITE
async def test_an_upload_that_grows_too_large_is_refused_while_it_comes(
    storyboard: Storyboard,
) -> None:
    project = await storyboard.project()
    sent = 0

    def endless() -> Iterator[assets_pb2.UploadAssetRequest]:
        nonlocal sent
        request = assets_pb2.UploadAssetRequest(project_id=project.id, size_bytes=3 * 1024**3)
        request.content.data = bytes(MIB)
        while True:
            yield request
            sent += MIB

    def upload() -> None:
        # The blocking client: asyncio's forgets the answer when it comes while something is written.
        with grpc.insecure_channel(storyboard.address) as channel:
            assets_pb2_grpc.AssetServiceStub(channel).UploadAsset(endless(), timeout=PATIENCE_S)

    assert await refused(asyncio.to_thread(upload)) == (grpc.StatusCode.INVALID_ARGUMENT, ["size_bytes"])
    # Not more than what lies in the buffers on the way.
    assert sent < 64 * MIB


@ONLY_SQLITE
async def test_a_project_that_goes_while_a_file_comes(storyboard: Storyboard) -> None:
    project = await storyboard.project()
    began, deleted = asyncio.Event(), asyncio.Event()
    data = png()

    async def slowly() -> AsyncIterator[assets_pb2.UploadAssetRequest]:
        first = assets_pb2.UploadAssetRequest(project_id=project.id)
        first.content.data = data[:100]
        yield first
        # Asked for the next message, gRPC has sent the first.
        began.set()
        await deleted.wait()
        rest = assets_pb2.UploadAssetRequest()
        rest.content.data = data[100:]
        yield rest

    upload = storyboard.assets.UploadAsset(slowly(), timeout=PATIENCE_S)
    # Both calls are on one connection: the upload's first message has been read before it is answered.
    await began.wait()
    await storyboard.projects.DeleteProject(projects_pb2.DeleteProjectRequest(project_id=project.id))
    deleted.set()
    assert await refused(upload) == (grpc.StatusCode.NOT_FOUND, ["project_id"])
    assert storyboard.media == []


@ONLY_SQLITE
async def test_a_stopped_process_ends_open_watches_in_good_order(storyboard: Storyboard, store: JobStore) -> None:
    project = await storyboard.project()
    new = NewJob(kind=JobKind.VIDEO, subject=Subject(project_id=project.id), parameters={})
    job, _ = store.submit(new, service="video", worker_address="127.0.0.1:1")
    one = storyboard.jobs.WatchJob(jobs_pb2.WatchJobRequest(job_id=job.id))
    everything = storyboard.jobs.WatchJobs(jobs_pb2.WatchJobsRequest())
    pending = asyncio.create_task(everything.read())
    assert (await one.read()).sequence == 1
    started = time.monotonic()
    storyboard.process.signal(signal.SIGTERM)
    assert await storyboard.process.wait() == 0
    assert time.monotonic() - started < 8
    for call in (one.read(), pending):
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    assert storyboard.process.errors() == []


async def too_large(call: Any) -> str:
    """The message of an answer that does not fit, told by the server and not by gRPC."""
    with pytest.raises(grpc.RpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (caught.value.code(), info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESPONSE_TOO_LARGE")
    return str(caught.value.details())


@ONLY_SQLITE
async def test_answers_that_are_too_large(storyboard: Storyboard, store: JobStore) -> None:
    scene = "INT. WHEELHOUSE - DAY\n\nMara keeps both hands on the wheel.\n\nMARA\nThey will not wait for us.\n\n"
    long = await storyboard.scripts.ParseScript(
        storyboard_pb2.ParseScriptRequest(script=scene * (2_500_000 // len(scene)))
    )
    assert len(long.scenes) == 2_500_000 // len(scene)
    assert {parsed.content for parsed in long.scenes} == {""}
    # Each line is a shot, with figures of its own.
    assert "a part of the script" in await too_large(
        storyboard.scripts.ParseScript(storyboard_pb2.ParseScriptRequest(script="a\n\n" * 300_000))
    )
    xml = (
        '<FinalDraft><Content><Paragraph Type="Scene Heading"><Text>INT. A</Text></Paragraph>'
        '<Paragraph Type="Action"><Text>Go.</Text></Paragraph></Content></FinalDraft>'
    )
    parsed = await storyboard.scripts.ParseScript(storyboard_pb2.ParseScriptRequest(script=xml))
    assert (parsed.final_draft, parsed.scenes[0].content) == (True, "INT. A\n\nGo.")

    script = "x" * 2_000_000
    projects = [await storyboard.project(str(number), script_content=script) for number in range(3)]
    listed = await storyboard.projects.ListProjects(projects_pb2.ListProjectsRequest())
    assert [(project.name, project.script_content) for project in listed.projects] == [("2", ""), ("1", ""), ("0", "")]
    got = await storyboard.projects.GetProject(projects_pb2.GetProjectRequest(project_id=projects[0].id))
    assert got.project.script_content == script

    for _ in range(6):
        new = NewJob(
            kind=JobKind.VIDEO, subject=Subject(project_id=projects[0].id), parameters={"prompt": "x" * 1_000_000}
        )
        store.submit(new, service="video", worker_address="127.0.0.1:1")
    first = await storyboard.jobs.ListJobs(jobs_pb2.ListJobsRequest())
    rest = await storyboard.jobs.ListJobs(jobs_pb2.ListJobsRequest(page_token=first.next_page_token))
    assert (len(first.jobs), len(rest.jobs), rest.next_page_token) == (4, 2, "")
    assert len({job.id for job in (*first.jobs, *rest.jobs)}) == 6
    assert storyboard.process.errors() == []
