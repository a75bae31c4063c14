"""What a project has that nobody said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from milimo.v1 import projects_pb2
from milimo_runtime.media import MediaStore
from milimo_runtime.registry import Registry, write_manifest
from milimo_storyboard.project_service import ProjectService

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_runtime.database import Database

SIZES: dict[str, tuple[dict[str, Any], dict[str, int], tuple[int, int]]] = {
    "the default": ({}, {}, (768, 512)),
    "the model's own": ({"width": 256, "height": 128}, {}, (256, 128)),
    "as asked for": ({"width": 256, "height": 128}, {"resolution_w": 640, "resolution_h": 480}, (640, 480)),
    "half as asked for": ({"width": 256, "height": 128}, {"resolution_h": 480}, (768, 480)),
}


@pytest.mark.parametrize(("manifest", "asked", "size"), SIZES.values(), ids=SIZES)
async def test_size_of_a_new_project(
    database: Database, tmp_path: Path, manifest: dict[str, Any], asked: dict[str, int], size: tuple[int, int]
) -> None:
    models = Registry(tmp_path / "models", "small")
    root = models.root / "ltx-2"
    root.mkdir(parents=True)
    facts = {"name": "ltx-2", "family": "small", "purpose": "video", "checkpoint": "distilled"}
    write_manifest(root, {**facts, **dict.fromkeys(("license", "note", "advice"), ""), **manifest}, footprints=[])
    service = ProjectService(database, MediaStore((tmp_path / "media").as_uri()), models)
    request = projects_pb2.CreateProjectRequest(project=projects_pb2.Project(name="film", **asked))
    project = (await service.CreateProject(request, None)).project  # type: ignore[arg-type]
    assert (project.resolution_w, project.resolution_h) == size
