"""Lists ask the database as often for many entries as for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from milimo.v1 import assets_pb2, jobs_pb2, projects_pb2
from milimo_runtime.assets import Asset, AssetKind, new_id, to_row
from milimo_runtime.database import now
from milimo_runtime.jobs import JobKind, NewJob, Subject
from milimo_runtime.media import MediaStore
from milimo_runtime.registry import Registry
from milimo_storyboard.asset_service import AssetService
from milimo_storyboard.job_relay import JobRelay
from milimo_storyboard.job_service import JobService
from milimo_storyboard.project_service import ProjectService

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from milimo_runtime.database import Database
    from milimo_runtime.job_store import JobStore

MANY = 6


def asset(project: str, job_id: str) -> Asset:
    return Asset(
        id=new_id(),
        project_id=project,
        kind=AssetKind.IMAGE,
        name="",
        media_type="image/png",
        width=1,
        height=1,
        num_frames=1,
        fps=0,
        duration_seconds=0,
        bytes=1,
        sha256="",
        key="k",
        thumbnail_key="",
        created_at=now(),
        job_id=job_id,
        artefact=new_id(),
    )


@pytest.mark.parametrize("kind", ["projects", "assets", "jobs"])
async def test_statements_of_a_list(
    database: Database,
    store: JobStore,
    new_project: Callable[[], str],
    recorded: Callable[[], AbstractContextManager[list[tuple[str, Any]]]],
    tmp_path: Path,
    kind: str,
) -> None:
    projects = [new_project() for _ in range(MANY)]
    for _ in range(MANY):
        new = NewJob(kind=JobKind.IMAGE, subject=Subject(project_id=projects[0]), parameters={})
        job, _ = store.submit(new, service="image", worker_address="127.0.0.1:1")
        with database.write() as session:
            session.add_all(to_row(asset(projects[0], job.id)) for _ in range(2))
    media = MediaStore((tmp_path / "media").as_uri())

    async def ask(size: int) -> int:
        match kind:
            case "projects":
                request = projects_pb2.ListProjectsRequest(page_size=size)
                service = ProjectService(database, media, Registry(tmp_path, "none"))
                return len((await service.ListProjects(request, None)).projects)
            case "assets":
                asking = assets_pb2.ListAssetsRequest(project_id=projects[0], page_size=size)
                assets = AssetService(database, media, tmp_path / "scratch")
                return len((await assets.ListAssets(asking, None)).assets)
            case _:
                found = await JobService(store, JobRelay(store, [])).ListJobs(
                    jobs_pb2.ListJobsRequest(page_size=size), None
                )
                assert [len(job.assets) for job in found.jobs] == [2] * size
                return len(found.jobs)

    counts = []
    for size in (1, MANY):
        with recorded() as statements:
            assert await ask(size) == size
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 2, statements
