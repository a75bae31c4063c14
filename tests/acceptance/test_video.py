"""One prompt becomes a video: exactly as asked, the same each time, with everything that belongs in the file."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import av
import pytest
from milimo import MilimoError
from milimo.v1 import arbiter_pb2, assets_pb2, image_pb2, jobs_pb2, video_pb2

if TYPE_CHECKING:
    from pathlib import Path

    from milimo import Milimo
    from milimo.v1 import projects_pb2


def _generate(client: Milimo, project: projects_pb2.Project, **parameters: object) -> jobs_pb2.Job:
    request = video_pb2.SubmitVideoRequest(
        project_id=project.id,
        video=video_pb2.VideoParameters(**parameters),  # type: ignore[arg-type]
    )
    job = client.watch(client.videos.SubmitVideo(request).job.id).result()
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
    return job


@pytest.mark.parametrize(
    ("frames", "width", "height", "fps"),
    [(9, 256, 128, 25), (13, 130, 66, 24), (2, 64, 64, 30)],
    ids=["on the grid", "off the grid", "smallest"],
)
def test_file_is_exactly_as_asked(
    client: Milimo,
    project: projects_pb2.Project,
    tmp_path: Path,
    frames: int,
    width: int,
    height: int,
    fps: int,
) -> None:
    job = _generate(
        client, project, prompt="a lighthouse", seed=7, num_frames=frames, width=width, height=height, fps=fps
    )
    (asset,) = job.assets
    path = client.download(asset.id, tmp_path / "video.mp4")
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert video.average_rate == fps
        tags = dict(container.metadata)
        pictures = sum(1 for frame in container.decode(video) if (frame.width, frame.height) == (width, height))
    assert pictures == frames
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        assert abs(float(stream.duration * stream.time_base) - frames / fps) <= 1 / fps
    parameters = json.loads(tags["comment"])
    assert (parameters["prompt"], parameters["seed"]) == ("a lighthouse", 7)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index must stand in front, so that players can start early"
    assert (asset.num_frames, asset.width, asset.height, asset.fps) == (frames, width, height, fps)
    assert asset.bytes == len(data)


def test_same_request_gives_same_bytes_and_another_seed_does_not(client: Milimo, project: projects_pb2.Project) -> None:
    first, second = (
        _generate(client, project, prompt="rain", seed=3, num_frames=9, width=128, height=64) for _ in range(2)
    )
    other = _generate(client, project, prompt="rain", seed=4, num_frames=9, width=128, height=64)
    assert first.id != second.id
    assert first.assets[0].sha256 == second.assets[0].sha256
    assert first.assets[0].sha256 != other.assets[0].sha256


def test_seed_is_drawn_and_reported(client: Milimo, project: projects_pb2.Project) -> None:
    job = _generate(client, project, prompt="rain", num_frames=9, width=128, height=64)
    seed = int(job.parameters["seed"])
    again = _generate(client, project, prompt="rain", num_frames=9, width=128, height=64, seed=seed)
    assert again.assets[0].sha256 == job.assets[0].sha256


def test_image_becomes_the_first_frame(client: Milimo, project: projects_pb2.Project, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "red.png"
    Image.new("RGB", (128, 64), (200, 30, 30)).save(path)
    image = client.upload(path, project_id=project.id)
    parameters = {"prompt": "rain", "seed": 3, "num_frames": 9, "width": 128, "height": 64}
    plain = _generate(client, project, **parameters)
    conditioned = _generate(
        client, project, **parameters, conditions=[video_pb2.VideoCondition(asset_id=image.id, frame_index=0)]
    )
    assert conditioned.assets[0].sha256 != plain.assets[0].sha256


def test_plan_says_what_and_why(client: Milimo, project: projects_pb2.Project) -> None:
    plan = client.videos.PlanVideo(
        video_pb2.PlanVideoRequest(
            project_id=project.id,
            video=video_pb2.VideoParameters(prompt="rain", num_frames=100, width=130, height=66),
        )
    ).plan
    assert plan.pipeline == video_pb2.VIDEO_PIPELINE_TI2VID
    assert (plan.num_frames, plan.width, plan.height) == (100, 130, 66)
    assert (plan.model_frames, plan.model_width, plan.model_height) == (105, 192, 128)
    assert {stage.name: stage.forwards for stage in plan.stages if stage.forwards} == {"stage_1": 8, "stage_2": 3}
    assert plan.reason
    assert plan.distilled
    assert plan.notices


def test_frame_rate_is_doubled_in_each_chunk(client: Milimo, project: projects_pb2.Project, tmp_path: Path) -> None:
    video = video_pb2.VideoParameters(prompt="rain", seed=3, num_frames=131, width=64, height=64, fps=50, upscale=True)
    plan = client.videos.PlanVideo(video_pb2.PlanVideoRequest(project_id=project.id, video=video)).plan
    assert [(chunk.model_frames, chunk.new_frames, chunk.first_frame) for chunk in plan.chunks] == [
        (129, 129, 0),
        (49, 2, 129),
    ]
    forwards = {stage.name: stage.forwards for stage in plan.stages if stage.name.startswith("chunk_2.")}
    assert (forwards["chunk_2.stage_1"], forwards["chunk_2.stage_2"], forwards["chunk_2.refine_time"]) == (8, 3, 2)
    request = video_pb2.SubmitVideoRequest(project_id=project.id, video=video)
    watch = client.watch(client.videos.SubmitVideo(request).job.id)
    stages = {event.progress.stage for event in watch if event.HasField("progress")}
    job = watch.result()
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
    assert stages <= {stage.name for stage in plan.stages}
    path = client.download(job.assets[0].id, tmp_path / "video.mp4")
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 50
        assert sum(1 for _ in container.decode(video=0)) == 131
        sound = container.streams.audio[0]
        assert sound.duration is not None
        assert sound.time_base is not None
        assert abs(float(sound.duration * sound.time_base) - 131 / 50) <= 1 / 50


def test_progress_never_falls_and_previews_come(client: Milimo, project: projects_pb2.Project) -> None:
    request = video_pb2.GenerateVideoRequest(
        project_id=project.id,
        video=video_pb2.VideoParameters(prompt="rain", num_frames=25, width=256, height=128),
        previews=True,
    )
    events = list(client.videos.GenerateVideo(request))
    fractions = [event.progress.fraction for event in events if event.HasField("progress")]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    stages = [event.progress.stage for event in events if event.HasField("progress")]
    # A stage that took no time may be left out for a reader who was slower; none comes out of turn.
    seen = list(dict.fromkeys(stages))
    assert seen == [stage for stage in ("encode_text", "stage_1", "upsample", "stage_2", "decode") if stage in seen]
    assert {"stage_1", "stage_2", "decode"} <= set(seen)
    assert any(event.progress.HasField("eta") for event in events)
    previews = [event.preview for event in events if event.HasField("preview")]
    assert previews
    assert all(preview.image.startswith(b"\xff\xd8\xff") for preview in previews)
    durable = [event.sequence for event in events if event.durable]
    assert durable == list(range(1, len(durable) + 1))
    assert events[0].HasField("accepted")
    assert events[-1].state == jobs_pb2.JOB_STATE_SUCCEEDED


def test_video_and_image_take_turns_on_memory_that_holds_one(client: Milimo, project: projects_pb2.Project) -> None:
    """Neither fails, and memory changes hands."""
    for _ in range(2):
        image = client.images.SubmitImage(
            image_pb2.SubmitImageRequest(
                project_id=project.id, image=image_pb2.ImageParameters(prompt="a boat", width=64, height=64)
            )
        ).job
        assert client.watch(image.id).result().state == jobs_pb2.JOB_STATE_SUCCEEDED
        video = _generate(client, project, prompt="a boat", num_frames=9, width=128, height=64)
        assert video.assets[0].kind == assets_pb2.ASSET_KIND_VIDEO
    status = client.gpu.GetStatus(arbiter_pb2.GetStatusRequest()).status
    granted = [decision.tenant for decision in status.decisions if decision.action == "granted"]
    assert granted[-3:] == ["video", "image", "video"]


def test_a_single_frame_is_an_image(client: Milimo, project: projects_pb2.Project) -> None:
    """ImageService makes it: the same image as when it is asked for itself."""
    video = video_pb2.VideoParameters(prompt="the sea", seed=3, num_frames=1, width=128, height=96)
    asked = video_pb2.SubmitVideoRequest(project_id=project.id, video=video, request_id=str(uuid.uuid4()))
    job = client.videos.SubmitVideo(asked).job
    assert client.videos.SubmitVideo(asked).job.id == job.id
    assert job.kind == jobs_pb2.JOB_KIND_IMAGE
    done = client.watch(job.id).result()
    assert done.state == jobs_pb2.JOB_STATE_SUCCEEDED, done.error
    (asset,) = done.assets
    assert (asset.kind, asset.width, asset.height) == (assets_pb2.ASSET_KIND_IMAGE, 128, 96)
    image = image_pb2.ImageParameters(prompt="the sea", seed=3, width=128, height=96)
    own = client.images.SubmitImage(image_pb2.SubmitImageRequest(project_id=project.id, image=image)).job
    assert client.watch(own.id).result().assets[0].sha256 == asset.sha256
    events = list(client.videos.GenerateVideo(video_pb2.GenerateVideoRequest(project_id=project.id, video=video)))
    assert events[-1].state == jobs_pb2.JOB_STATE_SUCCEEDED
    plan = client.videos.PlanVideo(video_pb2.PlanVideoRequest(project_id=project.id, video=video)).plan
    assert plan.pipeline == video_pb2.VIDEO_PIPELINE_IMAGE
    video.width = 40
    with pytest.raises(MilimoError, match=r"video\.width"):
        client.videos.SubmitVideo(video_pb2.SubmitVideoRequest(project_id=project.id, video=video))
