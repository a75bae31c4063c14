"""`milimo projects`."""

from __future__ import annotations

import sys
import uuid
from typing import Annotated

import typer

from milimo.cli_output import as_document
from milimo.cli_project import all_projects, find_project
from milimo.cli_session import AddressOption, JsonOption, open_session

app = typer.Typer(no_args_is_help=True, help="List, create and delete projects.")


@app.command("list")
def list_projects(address: AddressOption = None, json: JsonOption = False) -> None:
    """List projects, newest first."""
    with open_session(address, json) as session:
        projects = list(all_projects(session))
        session.output.document({"projects": [as_document(project) for project in projects]})
        session.output.table(
            ("id", "name", "size", "fps", "created"),
            [
                (
                    project.id,
                    project.name,
                    f"{project.resolution_w}×{project.resolution_h}",
                    str(project.fps),
                    project.created_at.ToDatetime().strftime("%Y-%m-%d %H:%M:%S"),
                )
                for project in projects
            ],
        )


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="For people.")],
    width: Annotated[int | None, typer.Option(help="Of its videos, even. Default: the model's own.")] = None,
    height: Annotated[int | None, typer.Option(help="Of its videos, even. Default: the model's own.")] = None,
    fps: Annotated[int | None, typer.Option(help="24, 25, 30, 48, 50 or 60. Default 25.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of its shots. Default: another for each.")] = None,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Create a project and print its id."""
    from milimo.v1.projects_pb2 import CreateProjectRequest, Project

    with open_session(address, json) as session:
        project = Project(name=name, resolution_w=width, resolution_h=height, fps=fps, seed=seed)
        request = CreateProjectRequest(project=project, request_id=str(uuid.uuid4()))
        made = session.client.projects.CreateProject(request).project
        session.output.document({"project": as_document(made)})
        session.output.text(made.id)


@app.command("delete")
def delete(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Id or name.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Delete a project with everything in it, its media too."""
    from milimo.v1.projects_pb2 import DeleteProjectRequest

    with open_session(address, json) as session:
        project_id = find_project(session, project)
        if not yes:
            if not sys.stdin.isatty():
                raise typer.BadParameter("nobody can be asked here: say --yes", param_hint="--yes")
            typer.confirm(f"Delete {project} with all its media?", abort=True, err=True)
        session.client.projects.DeleteProject(DeleteProjectRequest(project_id=project_id))
        session.output.document({"deleted": project_id})
        session.output.note(f"deleted {project_id}")
