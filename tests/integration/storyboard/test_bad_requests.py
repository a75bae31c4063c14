"""What is the caller's fault is told as such, with the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf import field_mask_pb2
from milimo.v1 import assets_pb2, elements_pb2, jobs_pb2, models_pb2, projects_pb2, storyboard_pb2

from .board import Storyboard, png, read, refused

if TYPE_CHECKING:
    from collections.abc import Sequence


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
        (board.elements.GetElement(elements_pb2.GetElementRequest(element_id="nowhere")), missing, "element_id"),
        (board.elements.ListElements(elements_pb2.ListElementsRequest(project_id="nowhere")), missing, "project_id"),
        (
            board.elements.ListElements(elements_pb2.ListElementsRequest(project_id=project, page_token="x")),
            invalid,
            "page_token",
        ),
        (board.elements.DeleteElement(elements_pb2.DeleteElementRequest(element_id="nowhere")), missing, "element_id"),
        (
            board.elements.SubmitElementVisual(elements_pb2.SubmitElementVisualRequest(element_id="nowhere")),
            missing,
            "element_id",
        ),
        (
            read(board.elements.GenerateElementVisual(elements_pb2.GenerateElementVisualRequest(element_id="nowhere"))),
            missing,
            "element_id",
        ),
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
    for number, (call, wanted, field) in enumerate(bad_requests(storyboard, project.id, asset.id)):
        answer = await refused(call)
        if answer[0] is not wanted or field not in answer[1]:
            wrong.append((number, answer, (wanted, field)))
    assert wrong == []
    assert storyboard.media == before
    assert list((storyboard.home / "scratch/storyboard-local").iterdir()) == []
    assert storyboard.process.errors() == []
    later = storyboard_pb2.GetStoryboardRequest(project_id=project.id)
    code, _ = await refused(storyboard.scripts.GetStoryboard(later))
    assert code is grpc.StatusCode.UNIMPLEMENTED
