"""Hours in minutes: jobs while processes are killed at random moments, from a seed that can be run again."""

from __future__ import annotations

import os
import random
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from milimo.v1 import image_pb2, jobs_pb2, video_pb2

if TYPE_CHECKING:
    from milimo import Milimo
    from milimo.v1 import projects_pb2
    from milimo_deploy.running import RunningMesh

SEED = int(os.environ.get("MILIMO_SOAK_SEED", "1"))
JOBS = int(os.environ.get("MILIMO_SOAK_JOBS", "24"))
VICTIMS = ("video", "image", "arbiter", "storyboard", "gateway")


@pytest.mark.soak
def test_every_job_succeeds_while_processes_are_killed(
    client: Milimo, project: projects_pb2.Project, mesh: RunningMesh
) -> None:
    """No job is lost or fails, and each durable event is seen once and in order."""
    chance = random.Random(SEED)
    jobs = [_submit(client, project, chance) for _ in range(JOBS)]
    done = threading.Event()

    def kill() -> None:
        # The pause is the point: kills come at moments that nobody chose.
        while not done.wait(chance.uniform(2.0, 8.0)):
            mesh.wait_until_healthy()
            os.kill(mesh.pid(chance.choice(VICTIMS)), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for job_id in jobs:
            watch = client.watch(job_id)
            sequences = [event.sequence for event in watch if event.durable]
            job = watch.result()
            assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
            assert sequences == list(range(1, job.last_sequence + 1))
            assert len(job.assets) == 1
    finally:
        done.set()
        killer.join()


def _submit(client: Milimo, project: projects_pb2.Project, chance: random.Random) -> str:
    seed = chance.randrange(2**32)
    if chance.random() < 0.5:
        image = image_pb2.ImageParameters(prompt="a boat", width=128, height=128, seed=seed)
        return client.images.SubmitImage(image_pb2.SubmitImageRequest(project_id=project.id, image=image)).job.id
    video = video_pb2.VideoParameters(prompt="the sea", width=256, height=128, num_frames=49, seed=seed)
    return client.videos.SubmitVideo(video_pb2.SubmitVideoRequest(project_id=project.id, video=video)).job.id
