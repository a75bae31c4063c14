"""Projects: their values, and the transactions that make, change and delete them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from milimo_runtime.assets import new_id, require_project
from milimo_runtime.database import now
from milimo_runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from milimo_runtime.jobs import OPEN_STATES
from milimo_runtime.paging import behind
from milimo_runtime.schema import JobRow, ProjectRow
from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import defer

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from milimo_runtime.database import Database
    from milimo_runtime.paging import Place
    from sqlalchemy import Row
    from sqlalchemy.orm import Session

DEFAULT_WIDTH: Final = 768
DEFAULT_HEIGHT: Final = 512
DEFAULT_FPS: Final = 25
# What a caller may change.
EDITABLE: Final = frozenset({"name", "resolution_w", "resolution_h", "fps", "seed", "script_content"})

_BY_ID: Final = select(ProjectRow.__table__).where(ProjectRow.id == bindparam("project_id"))


@dataclass(frozen=True, kw_only=True)
class Project:
    """A film, or a part of one. Sizes in pixels; `seed` None means a random one for each shot."""

    name: str
    resolution_w: int = DEFAULT_WIDTH
    resolution_h: int = DEFAULT_HEIGHT
    fps: int = DEFAULT_FPS
    seed: int | None = None
    script_content: str = ""
    id: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


def create_project(session: Session, project: Project) -> Project:
    """Stores a new project and returns it with its id and times."""
    time = now()
    row = ProjectRow(
        id=new_id(),
        name=project.name,
        resolution_w=project.resolution_w,
        resolution_h=project.resolution_h,
        fps=project.fps,
        seed=project.seed,
        script_content=project.script_content,
        created_at=time,
        updated_at=time,
    )
    session.add(row)
    return _project(row)


async def get_project(database: Database, project_id: str) -> Project:
    """The project. Raises NotFound."""
    row = await database.row(_BY_ID, {"project_id": project_id})
    if row is None:
        raise NotFound("project", project_id, field="project_id")
    return _project(row)


def list_projects(session: Session, *, after: Place | None, limit: int) -> Sequence[Project]:
    """Projects, newest first, at most `limit`, without their scripts; `after` is where the page before ended."""
    query = (
        select(ProjectRow)
        .options(defer(ProjectRow.script_content))
        .order_by(ProjectRow.created_at.desc(), ProjectRow.id.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(behind(after, ProjectRow.created_at, ProjectRow.id))
    return [_project(row, with_script=False) for row in session.scalars(query)]


def update_project(session: Session, project: Project, fields: Collection[str]) -> Project:
    """Changes exactly the named fields. Raises NotFound, InvalidArgument for a field that cannot be changed."""
    row = require_project(session, project.id, field_name="project.id")
    for field in fields:
        if field not in EDITABLE:
            raise InvalidArgument(
                "update_mask", f"{field!r} cannot be changed; these can: {', '.join(sorted(EDITABLE))}"
            )
        setattr(row, field, getattr(project, field))
    row.updated_at = now()
    return _project(row)


def delete_project(session: Session, project_id: str) -> None:
    """Deletes the project and all rows of it.

    Raises:
        NotFound: there is no such project.
        FailedPrecondition: a job of the project has not ended.
    """
    row = session.get(ProjectRow, project_id, with_for_update=True)
    if row is None:
        raise NotFound("project", project_id)
    # The row is locked: a job that is submitted now waits, and then finds no project.
    states = [state.value for state in OPEN_STATES]
    query = select(func.count()).where(JobRow.project_id == project_id, JobRow.state.in_(states))
    running = session.scalar(query) or 0
    if running:
        raise FailedPrecondition(
            f"project_id: {running} jobs of the project have not ended; cancel them first", reason="JOBS_RUNNING"
        )
    session.delete(row)


def _project(row: ProjectRow | Row[Any], *, with_script: bool = True) -> Project:
    return Project(
        id=row.id,
        name=row.name,
        resolution_w=row.resolution_w,
        resolution_h=row.resolution_h,
        fps=row.fps,
        seed=row.seed,
        script_content=row.script_content if with_script else "",
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
