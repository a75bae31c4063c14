"""Images made, made from references, and repainted from text, while videos want the same memory."""

from __future__ import annotations

import statistics
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
from milimo.v1 import arbiter_pb2, image_pb2, jobs_pb2, video_pb2
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from milimo import Milimo
    from milimo.v1 import projects_pb2
    from milimo_deploy.running import RunningMesh

# In the process of images, after the tenth job, of what the runtime's own structures may still take.
GROWTH_BYTES = 24 * 1024**2
AT_ONCE = 5


def _submit_image(client: Milimo, project_id: str, asset_id: str, number: int) -> str:
    if number % 3 == 2:
        inpaint = image_pb2.InpaintParameters(
            asset_id=asset_id, mask_text="boat", prompt="a ship", seed=number, steps=2
        )
        return client.images.SubmitInpaint(
            image_pb2.SubmitInpaintRequest(project_id=project_id, inpaint=inpaint)
        ).job.id
    image = image_pb2.ImageParameters(
        prompt=f"boat {number}",
        width=128,
        height=96,
        seed=number,
        steps=2,
        reference_asset_ids=[asset_id] if number % 3 else [],
    )
    return client.images.SubmitImage(image_pb2.SubmitImageRequest(project_id=project_id, image=image)).job.id


def _mixed(client: Milimo, project: projects_pb2.Project, mesh: RunningMesh, folder: Path, count: int) -> list[int]:
    """So many image jobs, videos beside every second one. Resident bytes of the image process after each image.

    A few at once: each job that waits has a thread, and a thread that has computed keeps some megabytes for the next.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (97, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")
    asset_id = client.upload(folder / "image.png", project_id=project.id).id
    video = video_pb2.VideoParameters(prompt="the sea", width=128, height=64, num_frames=9, seed=3)
    earlier = _grants(client)
    process = psutil.Process(mesh.pid("image"))
    waiting: deque[tuple[bool, str]] = deque()
    resident: list[int] = []
    grants: dict[int, str] = {}

    def finish_first() -> None:
        is_image, job_id = waiting.popleft()
        job = client.watch(job_id).result()
        assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
        grants.update(_grants(client))
        if is_image:
            resident.append(process.memory_info().rss)

    for number in range(count):
        waiting.append((True, _submit_image(client, project.id, asset_id, number)))
        if number % 2:
            request = video_pb2.SubmitVideoRequest(project_id=project.id, video=video)
            waiting.append((False, client.videos.SubmitVideo(request).job.id))
        while len(waiting) > AT_ONCE:
            finish_first()
    while waiting:
        finish_first()
    # Segmentation fits beside either. Of the others one does: memory went from one to the other, a batch at a time.
    holders = [grants[token] for token in sorted(grants.keys() - earlier.keys())]
    holders = [tenant for tenant in holders if tenant in {"image", "video"}]
    assert sum(one != other for one, other in pairwise(holders)) >= max(1, count // 5), holders
    return resident


def _grants(client: Milimo) -> dict[int, str]:
    """Who was granted memory, by fencing token, as far back as the arbiter tells."""
    status = client.gpu.GetStatus(arbiter_pb2.GetStatusRequest()).status
    return {each.fencing_token: each.tenant for each in status.decisions if each.action == "granted"}


def test_leases_alternate_and_no_job_fails(
    client: Milimo, project: projects_pb2.Project, mesh: RunningMesh, tmp_path: Path
) -> None:
    _mixed(client, project, mesh, tmp_path, 6)  # each kind twice


@pytest.mark.soak
def test_memory_does_not_grow_after_the_tenth(
    client: Milimo, project: projects_pb2.Project, mesh: RunningMesh, tmp_path: Path
) -> None:
    resident = _mixed(client, project, mesh, tmp_path, 30)
    growth = statistics.median(resident[-10:]) - statistics.median(resident[9:15])
    assert growth < GROWTH_BYTES, [size // 1024**2 for size in resident]
