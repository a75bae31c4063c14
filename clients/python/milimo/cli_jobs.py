"""`milimo jobs`."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milimo.cli_output import as_document, word
from milimo.cli_progress import follow, headline, remark, require_success
from milimo.cli_project import find_project
from milimo.cli_results import check_out, finish
from milimo.cli_session import AddressOption, JsonOption, ProjectFilter, Session, open_session
from milimo.cli_words import StateWord, state_of

if TYPE_CHECKING:
    from milimo.v1.jobs_pb2 import Job

app = typer.Typer(no_args_is_help=True, help="See and steer jobs.")

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]


@app.command("list")
def list_jobs(
    project: ProjectFilter = None,
    state: Annotated[list[StateWord] | None, typer.Option(help="Only jobs in this state. Repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, newest first.")] = 50,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """List jobs, newest first: all, or those of a project."""
    from milimo.v1.jobs_pb2 import ListJobsRequest

    with open_session(address, json) as session:
        request = ListJobsRequest(
            project_id=find_project(session, project) if project else "",
            states=[state_of(item) for item in state or ()],
            page_size=limit,
        )
        answer = session.client.jobs.ListJobs(request)
        session.output.document(as_document(answer))
        session.output.table(("id", "kind", "state", "done", "created", "error"), [_row(job) for job in answer.jobs])


def _row(job: Job) -> tuple[str, ...]:
    from milimo.v1.jobs_pb2 import JobKind, JobState

    return (
        job.id,
        word(JobKind.Name(job.kind), "JOB_KIND_"),
        word(JobState.Name(job.state), "JOB_STATE_"),
        f"{job.fraction:.0%}",
        job.created_at.ToDatetime().strftime("%Y-%m-%d %H:%M:%S"),
        job.error.message,
    )


@app.command("watch")
def watch(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="The job's id; without one: all jobs.")] = None,
    project: ProjectFilter = None,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Follow a job to its end, or all jobs from now on. With --json each event is one line."""
    with open_session(address, json) as session:
        if job is None:
            _watch_all(session, project)
            return
        ended = follow(session, job, title=job[:8], json_lines=True)
        for asset in ended.assets:
            session.output.text(f"{asset.id}\t{asset.name}")
        require_success(session, ended)


def _watch_all(session: Session, project: str | None) -> None:
    from milimo.v1.jobs_pb2 import WatchJobsRequest

    project_id = find_project(session, project) if project else ""
    for event in session.client.jobs.WatchJobs(WatchJobsRequest(project_id=project_id)):
        session.output.json_line(as_document(event))
        text = remark(event) or headline(event)
        if text:
            percent = f"{event.progress.fraction:.0%}" if event.HasField("progress") else ""
            session.output.text(f"{event.job_id}\t{percent}\t{text}")


@app.command("cancel")
def cancel(
    job: JobArgument,
    keep_partial: Annotated[bool, typer.Option("--keep-partial", help="Keep the parts that are stored.")] = False,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Ask a job to end; it does within one step."""
    from milimo.cursor import FINAL_STATES
    from milimo.v1.jobs_pb2 import CancelJobRequest, JobState

    with open_session(address, json) as session:
        answer = session.client.jobs.CancelJob(CancelJobRequest(job_id=job, keep_partial=keep_partial)).job
        session.output.document({"job": as_document(answer)})
        state = word(JobState.Name(answer.state), "JOB_STATE_")
        has_ended = answer.state in FINAL_STATES
        session.output.text(f"job {job} has ended: {state}" if has_ended else f"job {job}: {state}, asked to end")


@app.command("retry")
def retry(
    job: JobArgument,
    out: Annotated[Path | None, typer.Option(help="File or folder of the result. Default: here.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait, or print the new job's id.")] = True,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Start an ended job anew, as a new job with the same request."""
    from milimo.v1.jobs_pb2 import RetryJobRequest

    check_out(out)
    with open_session(address, json) as session:
        again = session.client.jobs.RetryJob(RetryJobRequest(job_id=job, request_id=str(uuid.uuid4()))).job
        finish(session, again, out=out, wait=wait, title="retry")
