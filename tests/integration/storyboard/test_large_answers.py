"""Answers that would pass the size of a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from milimo.v1 import jobs_pb2, projects_pb2, storyboard_pb2
from milimo_runtime.jobs import JobKind, NewJob, Subject

from .board import ONLY_SQLITE, Storyboard

if TYPE_CHECKING:
    from milimo_runtime.job_store import JobStore


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
