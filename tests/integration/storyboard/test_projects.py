"""Projects: made, changed, listed, and deleted with what is in them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from google.protobuf import field_mask_pb2
from milimo.v1 import assets_pb2, jobs_pb2, projects_pb2
from milimo_runtime.jobs import JobKind, JobState, NewJob, Subject

from .board import Storyboard, png, read, refused

if TYPE_CHECKING:
    from milimo_runtime.job_store import JobStore


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
