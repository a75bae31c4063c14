"""Which project or element a command means, and files that become its assets."""

from __future__ import annotations

import errno
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from milimo.cli_session import Session
    from milimo.v1.elements_pb2 import Element
    from milimo.v1.projects_pb2 import Project

DEFAULT_PROJECT: Final = "default"


def all_projects(session: Session) -> Iterator[Project]:
    """Every project, newest first."""
    from milimo.v1.projects_pb2 import ListProjectsRequest

    token = ""
    while True:
        page = session.client.projects.ListProjects(ListProjectsRequest(page_size=1000, page_token=token))
        yield from page.projects
        token = page.next_page_token
        if not token:
            return


def find_project(session: Session, wanted: str | None) -> str:
    """The id of the project with this id or name; without one, of the project "default", made when it is missing.

    Raises:
        MilimoError: NOT_FOUND when there is none.
        typer.BadParameter: when several have the name.
    """
    import grpc

    from milimo.errors import FieldViolation, MilimoError
    from milimo.v1.projects_pb2 import CreateProjectRequest, Project

    name = wanted or DEFAULT_PROJECT
    found = [project for project in all_projects(session) if name in (project.id, project.name)]
    if not found:
        if wanted:
            description = f"there is no project with the id or name {wanted!r}"
            raise MilimoError(
                grpc.StatusCode.NOT_FOUND,
                description,
                reason="NOT_FOUND",
                violations=(FieldViolation(field="project_id", description=description),),
            )
        request = CreateProjectRequest(project=Project(name=DEFAULT_PROJECT), request_id=str(uuid.uuid4()))
        return session.client.projects.CreateProject(request).project.id
    exact = [project for project in found if project.id == name]
    if exact or not wanted:
        # Two commands may have made "default" at the same moment: both use the older one from then on.
        return (exact or found)[-1].id
    if len(found) > 1:
        ids = ", ".join(project.id for project in found)
        raise typer.BadParameter(f"several projects are named {wanted!r}: give one of {ids}", param_hint="--project")
    return found[0].id


def all_elements(session: Session, project_id: str) -> Iterator[Element]:
    """Every element of the project, the oldest first."""
    from milimo.v1.elements_pb2 import ListElementsRequest

    token = ""
    while True:
        request = ListElementsRequest(project_id=project_id, page_size=1000, page_token=token)
        page = session.client.elements.ListElements(request)
        yield from page.elements
        token = page.next_page_token
        if not token:
            return


def find_element(session: Session, wanted: str, *, project_id: str) -> Element:
    """The element with this id; or that of the project with this trigger word or name.

    Raises:
        MilimoError: NOT_FOUND when there is none.
        typer.BadParameter: when several have the name.
    """
    from milimo.v1.elements_pb2 import GetElementRequest

    found = [
        element
        for element in all_elements(session, project_id)
        if wanted in (element.id, element.trigger_word, element.name)
    ]
    exact = [element for element in found if element.name != wanted]
    if len(found) > 1 and not exact:
        ids = ", ".join(element.id for element in found)
        raise typer.BadParameter(f"several elements are named {wanted!r}: give one of {ids}", param_hint="ELEMENT")
    for element in (*exact, *found):
        return element
    return session.client.elements.GetElement(GetElementRequest(element_id=wanted)).element


def require_id(text: str) -> None:
    """Raises FileNotFoundError for what can only be meant as a file: ids have neither suffix nor folder."""
    path = Path(text)
    if path.suffix or path.name != text:
        raise FileNotFoundError(errno.ENOENT, "there is no such file", text)


def as_asset(session: Session, text: str, *, project_id: str) -> str:
    """The id of an asset: a local file is uploaded, anything else is taken for an asset's id.

    Raises:
        FileNotFoundError: when there is no such file, and it can be no id.
    """
    path = Path(text)
    if not path.is_file():
        require_id(text)
        return text
    asset = session.client.upload(path, project_id=project_id)
    session.output.note(f"uploaded {path} as asset {asset.id}")
    return asset.id
