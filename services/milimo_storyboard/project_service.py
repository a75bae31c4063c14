"""ProjectService: the edge between the contract and `milimo_storyboard.projects`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from milimo.v1 import projects_pb2, projects_pb2_grpc
from milimo_runtime.answered import answer_once
from milimo_runtime.job_messages import timestamp
from milimo_runtime.paging import Place, cut, page_size, place_of

from milimo_storyboard import projects
from milimo_storyboard.projects import Project

if TYPE_CHECKING:
    import grpc.aio
    from milimo_runtime.database import Database
    from milimo_runtime.media import MediaStore
    from milimo_runtime.registry import Registry
    from sqlalchemy.orm import Session

    Context = grpc.aio.ServicerContext[Any, Any]

_WITH_PRESENCE: Final = ("resolution_w", "resolution_h", "fps", "seed")


class ProjectService(projects_pb2_grpc.ProjectServiceServicer):
    """Projects."""

    def __init__(self, database: Database, media: MediaStore, models: Registry) -> None:
        """A project whose size nobody says has that of the video model among `models`."""
        self._database = database
        self._media = media
        self._models = models

    async def CreateProject(
        self, request: projects_pb2.CreateProjectRequest, context: Context
    ) -> projects_pb2.CreateProjectResponse:
        """Makes a project."""
        return await asyncio.to_thread(self._create, request)

    def _create(self, request: projects_pb2.CreateProjectRequest) -> projects_pb2.CreateProjectResponse:
        # Before the transaction: it reads files.
        project = self._new(request.project)
        return answer_once(
            self._database,
            request,
            projects_pb2.CreateProjectResponse,
            lambda session: projects_pb2.CreateProjectResponse(
                project=_message(projects.create_project(session, project))
            ),
        )

    def _new(self, message: projects_pb2.Project) -> Project:
        project = _value(message)
        if message.HasField("resolution_w") or message.HasField("resolution_h"):
            return project
        manifests = (model.manifest for model in self._models.models())
        for manifest in manifests:
            if manifest.purpose == "video" and manifest.width:
                return replace(project, resolution_w=manifest.width, resolution_h=manifest.height)
        return project

    async def GetProject(
        self, request: projects_pb2.GetProjectRequest, context: Context
    ) -> projects_pb2.GetProjectResponse:
        """One project."""
        project = await projects.get_project(self._database, request.project_id)
        return projects_pb2.GetProjectResponse(project=_message(project))

    async def ListProjects(
        self, request: projects_pb2.ListProjectsRequest, context: Context
    ) -> projects_pb2.ListProjectsResponse:
        """A page of projects, without their scripts."""
        size = page_size(request.page_size)
        after = place_of(request.page_token)

        def find() -> projects_pb2.ListProjectsResponse:
            with self._database.read() as session:
                found = projects.list_projects(session, after=after, limit=size + 1)
            page, token = cut(found, size, _token, _message)
            return projects_pb2.ListProjectsResponse(projects=page, next_page_token=token)

        return await asyncio.to_thread(find)

    async def UpdateProject(
        self, request: projects_pb2.UpdateProjectRequest, context: Context
    ) -> projects_pb2.UpdateProjectResponse:
        """Changes what the mask names, or without one what the request sets."""
        return await asyncio.to_thread(self._update, request)

    def _update(self, request: projects_pb2.UpdateProjectRequest) -> projects_pb2.UpdateProjectResponse:
        if request.update_mask.paths:
            fields = list(request.update_mask.paths)
        else:
            fields = [field.name for field, _ in request.project.ListFields() if field.name in projects.EDITABLE]
        return answer_once(
            self._database,
            request,
            projects_pb2.UpdateProjectResponse,
            lambda session: projects_pb2.UpdateProjectResponse(
                project=_message(projects.update_project(session, _value(request.project), fields))
            ),
        )

    async def DeleteProject(
        self, request: projects_pb2.DeleteProjectRequest, context: Context
    ) -> projects_pb2.DeleteProjectResponse:
        """Deletes a project and everything in it."""
        return await asyncio.to_thread(self._delete, request)

    def _delete(self, request: projects_pb2.DeleteProjectRequest) -> projects_pb2.DeleteProjectResponse:
        def delete(session: Session) -> projects_pb2.DeleteProjectResponse:
            projects.delete_project(session, request.project_id)
            return projects_pb2.DeleteProjectResponse()

        response = answer_once(self._database, request, projects_pb2.DeleteProjectResponse, delete)
        # After the rows: files without rows can be collected, rows without files would be broken. A repeat removes what
        # the first one left when it was cut off here.
        self._media.delete_project(request.project_id)
        return response


def _token(project: Project) -> str:
    assert project.created_at is not None
    return Place(time=project.created_at, id=project.id).token


def _value(message: projects_pb2.Project) -> Project:
    set_fields = {field.name for field, _ in message.ListFields()}
    given = {name: getattr(message, name) for name in _WITH_PRESENCE if name in set_fields}
    return Project(id=message.id, name=message.name, script_content=message.script_content, **given)


def _message(project: Project) -> projects_pb2.Project:
    return projects_pb2.Project(
        id=project.id,
        name=project.name,
        resolution_w=project.resolution_w,
        resolution_h=project.resolution_h,
        fps=project.fps,
        seed=project.seed,
        script_content=project.script_content,
        created_at=timestamp(project.created_at),
        updated_at=timestamp(project.updated_at),
    )
