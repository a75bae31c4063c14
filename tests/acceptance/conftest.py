"""The whole mesh on free ports, through its gateway, for the length of the session."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from milimo import Milimo
from milimo.v1 import projects_pb2
from milimo_deploy.mesh import free_addresses, plan_mesh
from milimo_deploy.running import running_mesh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from milimo_deploy.running import RunningMesh

MIB = 1024**2
# Enough for the video model alone, or for image and segmentation together.
BUDGET_BYTES = 512 * MIB


@pytest.fixture(scope="session")
def mesh(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """A mesh with a budget too small for all models at once."""
    environment = {
        "MILIMO_MODELS_DIR": str(models_dir),
        "MILIMO_MODEL_FAMILY": "tiny",
        "MILIMO_ARBITER_BUDGET_BYTES": str(BUDGET_BYTES),
        "OMP_NUM_THREADS": "1",
    }
    plan = plan_mesh(tmp_path_factory.mktemp("mesh"), free_addresses(), environment=environment)
    with running_mesh(plan) as running:
        yield running


@pytest.fixture
def client(mesh: RunningMesh) -> Iterator[Milimo]:
    """A client of the gateway."""
    with Milimo(mesh.address) as client:
        yield client


@pytest.fixture
def project(client: Milimo) -> projects_pb2.Project:
    """A new project."""
    request = projects_pb2.CreateProjectRequest(project=projects_pb2.Project(name="test"))
    return client.projects.CreateProject(request).project


@pytest.fixture
def http(mesh: RunningMesh) -> str:
    """The gateway's URL."""
    return f"http://{mesh.address}"


@pytest.fixture
def jobs_left(mesh: RunningMesh) -> Callable[[], list[Path]]:
    """What jobs that have ended left of what they kept from step to step; it goes a moment after their last event."""

    def found() -> list[Path]:
        return [path for path in mesh.home.rglob("jobs/*/*") if path.is_file()] + [
            path for path in (mesh.home / "scratch").rglob("*") if path.is_file()
        ]

    def left() -> list[Path]:
        deadline = time.monotonic() + 10.0
        while (files := found()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return files

    return left
