"""Videos of several chunks: exact, told of chunk by chunk, the same after the process was killed between and within."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import av
from milimo.v1 import jobs_pb2, video_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from milimo import Milimo
    from milimo.v1 import projects_pb2
    from milimo_deploy.running import RunningMesh

FRAMES = 230
CHUNKS = 3


def _submit(client: Milimo, project: projects_pb2.Project) -> jobs_pb2.Job:
    video = video_pb2.VideoParameters(
        prompt="the sea", seed=4, num_frames=FRAMES, width=64, height=64, chunk_prompts=["a storm"]
    )
    return client.videos.SubmitVideo(video_pb2.SubmitVideoRequest(project_id=project.id, video=video)).job


def _chunks(events: Iterable[jobs_pb2.JobEvent]) -> list[int]:
    return [event.chunk_committed.chunk for event in events if event.HasField("chunk_committed")]


def _kept(mesh: RunningMesh) -> list[Path]:
    """What jobs keep from one step to the next."""
    return [path for path in mesh.mesh.home.rglob("jobs/*/*") if path.is_file()]


def test_killed_in_the_middle_it_goes_on_at_its_chunk_and_gives_the_same_file(
    client: Milimo, project: projects_pb2.Project, mesh: RunningMesh, tmp_path: Path
) -> None:
    undisturbed = client.watch(_submit(client, project).id)
    first = list(undisturbed)
    reference = undisturbed.result()
    assert reference.state == jobs_pb2.JOB_STATE_SUCCEEDED, reference.error
    assert _chunks(first) == list(range(CHUNKS))

    job = _submit(client, project)
    watch = client.watch(job.id)
    seen: list[jobs_pb2.JobEvent] = []
    kills = 0
    for event in watch:
        seen.append(event)
        within = event.HasField("progress") and event.progress.stage.startswith("chunk_2.stage_")
        between = event.HasField("chunk_committed") and event.chunk_committed.chunk == 1
        if (kills == 0 and within) or (kills == 1 and between):
            os.kill(mesh.pid("video"), signal.SIGKILL)
            kills += 1
    assert kills == 2
    done = watch.result()
    assert done.state == jobs_pb2.JOB_STATE_SUCCEEDED, done.error
    assert done.attempt == 3
    assert _chunks(seen) == list(range(CHUNKS)), "every chunk is told of once"
    fractions = [event.progress.fraction for event in seen if event.HasField("progress")]
    assert fractions == sorted(fractions)
    recovered = [i for i, event in enumerate(seen) if event.state_changed.reason == "RECOVERED"]
    assert not any(event.progress.stage.startswith("chunk_1.") for event in seen[recovered[0] :])
    assert not any(event.progress.stage.startswith("chunk_2.stage_") for event in seen[recovered[1] :])
    assert done.assets[0].sha256 == reference.assets[0].sha256
    assert len(done.assets) == 1
    mesh.wait_until_healthy()

    path = client.download(done.assets[0].id, tmp_path / "video.mp4")
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    assert _kept(mesh) == []


def test_cancelled_after_a_chunk_it_leaves_nothing(
    client: Milimo, project: projects_pb2.Project, mesh: RunningMesh
) -> None:
    job = _submit(client, project)
    watch = client.watch(job.id)
    for event in watch:
        if event.HasField("chunk_committed"):
            assert _kept(mesh)
            client.jobs.CancelJob(jobs_pb2.CancelJobRequest(job_id=job.id))
    assert watch.result().state == jobs_pb2.JOB_STATE_CANCELLED
    assert _kept(mesh) == []
