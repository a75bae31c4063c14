"""Mixed jobs on memory that holds one model, and on memory that holds both."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from milimo import Milimo
from milimo.v1 import arbiter_pb2, image_pb2, jobs_pb2, projects_pb2, video_pb2
from milimo_deploy.mesh import free_addresses, plan_mesh
from milimo_deploy.running import running_mesh

from .conftest import BUDGET_BYTES

if TYPE_CHECKING:
    from pathlib import Path

# What the smallest jobs of each kind are: their results depend on nothing but this.
IMAGE = image_pb2.ImageParameters(prompt="a boat", width=64, height=64, seed=3, steps=1)
VIDEO = video_pb2.VideoParameters(prompt="a boat", width=128, height=64, num_frames=9, seed=3)

# Budget, setting, and the grants that mixed jobs may take: two, or fewer than there are jobs.
MESHES = {
    "one model fits, the other is dropped": (BUDGET_BYTES, "never", "fewer"),
    "one model fits, the other is parked": (BUDGET_BYTES, "always", "fewer"),
    "both models fit": (2 * BUDGET_BYTES, "never", "two"),
}


def _submit(client: Milimo, project_id: str, number: int) -> str:
    if number % 2:
        return client.images.SubmitImage(image_pb2.SubmitImageRequest(project_id=project_id, image=IMAGE)).job.id
    return client.videos.SubmitVideo(video_pb2.SubmitVideoRequest(project_id=project_id, video=VIDEO)).job.id


def _alternate(
    jobs: int, budget: int, park: str, models_dir: Path, home: Path
) -> tuple[int, arbiter_pb2.ArbiterStatus]:
    """Runs so many jobs, submitted in turn. Returns the grants that it took, and how things stand at the end."""
    environment = {
        "MILIMO_MODELS_DIR": str(models_dir),
        "MILIMO_MODEL_FAMILY": "tiny",
        "MILIMO_ARBITER_BUDGET_BYTES": str(budget),
        "MILIMO_ARBITER_PARKING_BYTES": str(BUDGET_BYTES),
        "MILIMO_PARK_WEIGHTS": park,
        "OMP_NUM_THREADS": "1",
    }
    results: defaultdict[int, set[str]] = defaultdict(set)
    with (
        running_mesh(plan_mesh(home, free_addresses(), environment=environment)) as mesh,
        Milimo(mesh.address) as client,
    ):
        request = projects_pb2.CreateProjectRequest(project=projects_pb2.Project(name="swaps"))
        project_id = client.projects.CreateProject(request).project.id
        for number, job_id in enumerate([_submit(client, project_id, number) for number in range(jobs)]):
            job = client.watch(job_id).result()
            assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
            results[number % 2].add(job.assets[0].sha256)
        status = client.gpu.GetStatus(arbiter_pb2.GetStatusRequest()).status
    assert [len(made) for made in results.values()] == [1, 1], "swaps change no result"
    # The home is new: tokens count the grants from 1 on.
    return max(lease.fencing_token for lease in status.leases), status


def _check(jobs: int, name: str, models_dir: Path, home: Path) -> None:
    budget, park, grants = MESHES[name]
    taken, status = _alternate(jobs, budget, park, models_dir, home)
    actions = {decision.action for decision in status.decisions}
    (device,) = status.devices
    assert device.granted_bytes <= budget
    if grants == "two":
        assert taken == 2, "each model was loaded once"
        assert "reclaim_requested" not in actions
    else:
        assert 2 < taken <= jobs // 2, "turns of one tenant follow each other"
        assert "reclaim_requested" in actions
    assert (status.parked_bytes > 0) == (park == "always")


def test_nothing_is_swapped_when_both_models_fit(models_dir: Path, tmp_path: Path) -> None:
    _check(12, "both models fit", models_dir, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("name", MESHES)
def test_many_mixed_jobs_alternate_without_an_error(name: str, models_dir: Path, tmp_path: Path) -> None:
    _check(int(os.environ.get("MILIMO_SOAK_SWAPS", "50")), name, models_dir, tmp_path)
