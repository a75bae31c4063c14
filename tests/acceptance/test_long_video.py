"""Videos of several chunks: exact, told of chunk by chunk, the same after the process was killed between and within."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import av
import pytest
from milimo import MilimoError
from milimo.v1 import jobs_pb2, video_pb2
from milimo_video.packets import track_facts
from milimo_video.parameters import read_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
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
    client: Milimo,
    project: projects_pb2.Project,
    mesh: RunningMesh,
    tmp_path: Path,
    jobs_left: Callable[[], list[Path]],
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
    parameters = read_parameters(path)
    assert parameters is not None
    assert parameters.values["handoff"] == "latent"
    assert jobs_left() == []


@pytest.mark.parametrize("keep", [False, True], ids=["nothing", "what was made"])
def test_cancelled_after_a_chunk_it_leaves(
    client: Milimo,
    project: projects_pb2.Project,
    mesh: RunningMesh,
    tmp_path: Path,
    jobs_left: Callable[[], list[Path]],
    keep: bool,
) -> None:
    job = _submit(client, project)
    watch = client.watch(job.id)
    for event in watch:
        if event.HasField("chunk_committed") and event.chunk_committed.chunk == 0:
            assert _kept(mesh)
            client.jobs.CancelJob(jobs_pb2.CancelJobRequest(job_id=job.id, keep_partial=keep))
    done = watch.result()
    assert done.state == jobs_pb2.JOB_STATE_CANCELLED
    assert jobs_left() == []
    assert len(done.assets) == int(keep)
    if keep:
        path = client.download(done.assets[0].id, tmp_path / "part.mp4")
        # The chunk that was being made may just have been finished.
        assert _frames(path) in (121, 217)
        assert done.assets[0].num_frames == _frames(path)


def _frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def _packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def _made(client: Milimo, project: projects_pb2.Project, video: video_pb2.VideoParameters) -> jobs_pb2.Job:
    job = client.videos.SubmitVideo(video_pb2.SubmitVideoRequest(project_id=project.id, video=video)).job
    done = client.watch(job.id).result()
    assert done.state == jobs_pb2.JOB_STATE_SUCCEEDED, done.error
    return done


def test_a_video_is_continued_followed_and_made_anew_in_part(
    client: Milimo, project: projects_pb2.Project, tmp_path: Path
) -> None:
    first = video_pb2.VideoParameters(prompt="the sea", seed=4, num_frames=60, width=66, height=64, fps=30)
    start = _made(client, project, first).assets[0]
    original = client.download(start.id, tmp_path / "start.mp4")

    # Size and frame rate are those of the video.
    more = video_pb2.VideoParameters(prompt="the sea", seed=5, num_frames=10, extend_asset_id=start.id)
    (end,) = _made(client, project, more).assets
    assert (end.width, end.height, end.num_frames, end.fps) == (66, 64, 10, 30)
    assert _frames(client.download(end.id, tmp_path / "end.mp4")) == 10
    # It has no latents: nobody who does not ask for them is told so.
    for handoff, told in ((video_pb2.CHUNK_HANDOFF_UNSPECIFIED, False), (video_pb2.CHUNK_HANDOFF_LATENT, True)):
        more.handoff = handoff
        plan = client.videos.PlanVideo(video_pb2.PlanVideoRequest(project_id=project.id, video=more)).plan
        assert ("HANDOFF_REENCODED" in [notice.code for notice in plan.notices]) is told

    anew = video_pb2.VideoParameters(
        prompt="a storm", seed=6, retake=video_pb2.Retake(asset_id=start.id, first_frame=35, last_frame=50)
    )
    done = _made(client, project, anew)
    retaken = client.download(done.assets[0].id, tmp_path / "retaken.mp4")
    assert _frames(retaken) == done.assets[0].num_frames == 60
    was, now = _packets(original), _packets(retaken)
    keyframes = track_facts(original, 30).keyframes
    head = max(number for number in keyframes if number <= 35)
    tail = min((number for number in keyframes if number > 50), default=60)
    assert now[:head] == was[:head]
    assert now[tail:] == was[tail:]
    assert not set(now[head:tail]) & set(was[head:tail])
    events = client.jobs.WatchJob(jobs_pb2.WatchJobRequest(job_id=done.id))
    told = "FRAMES_REENCODED" in [event.notice.code for event in events if event.HasField("notice")]
    assert told == (head < 35 or tail > 51)

    followed = video_pb2.VideoParameters(
        prompt="the sea",
        seed=7,
        num_frames=20,
        width=64,
        height=64,
        pipeline_override=video_pb2.VIDEO_PIPELINE_TI2VID,
        conditions=[video_pb2.VideoCondition(asset_id=start.id, frame_index=4, strength=0.8)],
    )
    plan = client.videos.PlanVideo(video_pb2.PlanVideoRequest(project_id=project.id, video=followed)).plan
    assert "CONDITION_TRIMMED" in [notice.code for notice in plan.notices]
    assert _made(client, project, followed).assets[0].num_frames == 20


def test_a_video_that_cannot_be_read_is_refused_before_there_is_a_job(
    client: Milimo, project: projects_pb2.Project, mesh: RunningMesh
) -> None:
    video = video_pb2.VideoParameters(prompt="the sea", seed=4, num_frames=30, width=64, height=64)
    asset = _made(client, project, video).assets[0]
    (path,) = [path for path in mesh.mesh.home.rglob(f"generated/{asset.id}*") if path.suffix == ".mp4"]
    data = bytearray(path.read_bytes())
    data[data.index(b"mdat") + 4 :] = bytes(len(data) - data.index(b"mdat") - 4)
    path.write_bytes(data)
    condition = video_pb2.VideoCondition(asset_id=asset.id, frame_index=2)
    for broken, field in (
        ({"extend_asset_id": asset.id}, "video.extend_asset_id"),
        ({"retake": video_pb2.Retake(asset_id=asset.id, first_frame=4, last_frame=9)}, "video.retake.asset_id"),
        (
            {"conditions": [condition], "pipeline_override": video_pb2.VIDEO_PIPELINE_TI2VID},
            "video.conditions[0].asset_id",
        ),
    ):
        asked = video_pb2.VideoParameters(prompt="the sea", **broken)
        with pytest.raises(MilimoError) as caught:
            client.videos.SubmitVideo(video_pb2.SubmitVideoRequest(project_id=project.id, video=asked))
        assert (caught.value.code.name, caught.value.reason) == ("INVALID_ARGUMENT", "MEDIA_DAMAGED")
        assert field in str(caught.value)
