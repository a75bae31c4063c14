"""Jobs outlive everything: a dropped stream, a repeated request, a killed worker, a killed arbiter."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from typing import TYPE_CHECKING

import pytest
from milimo import MilimoError
from milimo.v1 import arbiter_pb2, assets_pb2, jobs_pb2, video_pb2
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from milimo import Milimo
    from milimo.v1 import projects_pb2
    from milimo_deploy.running import RunningMesh


def _parameters(seed: int = 1, frames: int = 121) -> video_pb2.VideoParameters:
    """A video that takes a few seconds on two cores."""
    return video_pb2.VideoParameters(prompt="the sea", seed=seed, num_frames=frames, width=256, height=128)


def _submit(client: Milimo, project: projects_pb2.Project, **parameters: int) -> jobs_pb2.Job:
    request = video_pb2.SubmitVideoRequest(project_id=project.id, video=_parameters(**parameters))
    return client.videos.SubmitVideo(request).job


def _sequences(events: Iterable[jobs_pb2.JobEvent]) -> list[int]:
    return [event.sequence for event in events if event.durable]


def _running(events: Iterable[jobs_pb2.JobEvent]) -> None:
    """Reads events until the job denoises."""
    for event in events:
        if event.HasField("progress") and event.progress.stage == "stage_1" and event.progress.step >= 2:
            return
    raise AssertionError("the job ended before it denoised")


def test_worker_killed_in_the_middle_finishes_after_its_restart(
    client: Milimo, project: projects_pb2.Project, mesh: RunningMesh
) -> None:
    reference = client.watch(_submit(client, project).id).result()
    job = _submit(client, project)
    watch = client.watch(job.id)
    seen: list[jobs_pb2.JobEvent] = []
    killed = False
    for event in watch:
        seen.append(event)
        if not killed and event.HasField("progress") and event.progress.stage == "stage_1":
            os.kill(mesh.pid("video"), signal.SIGKILL)
            killed = True
    assert killed
    done = watch.result()
    assert done.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert done.attempt == 2
    sequences = _sequences(seen)
    assert sequences == list(range(1, done.last_sequence + 1)), "every durable event once and in order"
    assert [event.state_changed.reason for event in seen if event.state_changed.reason] == ["RECOVERED"]
    fractions = [event.progress.fraction for event in seen if event.HasField("progress")]
    assert fractions == sorted(fractions), "what was told before the crash still holds"
    assert done.assets[0].sha256 == reference.assets[0].sha256
    assert len(done.assets) == 1
    mesh.wait_until_healthy()
    leases = client.gpu.ListLeases(arbiter_pb2.ListLeasesRequest()).leases
    assert [lease.pid for lease in leases if lease.tenant == "video"] == [mesh.pid("video")], "no lease is left behind"


def test_arbiter_killed_during_a_job_grants_nothing_twice(
    client: Milimo, project: projects_pb2.Project, mesh: RunningMesh
) -> None:
    job = _submit(client, project, seed=2)
    watch = client.watch(job.id)
    _running(watch)
    before = client.gpu.ListLeases(arbiter_pb2.ListLeasesRequest()).leases
    os.kill(mesh.pid("arbiter"), signal.SIGKILL)
    done = watch.result()
    assert done.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert done.attempt == 1
    mesh.wait_until_healthy()
    status = client.gpu.GetStatus(arbiter_pb2.GetStatusRequest()).status
    granted = {device.device: device.granted_bytes for device in status.devices}
    (device,) = granted
    assert granted[device] <= 512 * 1024**2
    tokens = {lease.tenant: lease.fencing_token for lease in before}
    held = [lease for lease in status.leases if lease.tenant == "video"]
    assert [lease.fencing_token for lease in held] == [tokens["video"]], "the holder keeps its lease, none is added"


def test_watch_resumes_where_it_was_dropped(client: Milimo, project: projects_pb2.Project) -> None:
    job = _submit(client, project, frames=25)
    whole = list(client.watch(job.id))
    total = _sequences(whole)
    assert total == list(range(1, len(total) + 1))
    for after in range(len(total) + 1):
        resumed = client.jobs.WatchJob(jobs_pb2.WatchJobRequest(job_id=job.id, after_sequence=after))
        assert _sequences(resumed) == total[after:]


def test_dropping_the_stream_does_not_end_the_job(client: Milimo, project: projects_pb2.Project) -> None:
    request = video_pb2.GenerateVideoRequest(project_id=project.id, video=_parameters(frames=25))
    call = client.videos.GenerateVideo(request)
    first = next(iter(call))
    call.cancel()
    job = client.watch(first.job_id, after_sequence=first.sequence).result()
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED


def test_two_watchers_see_the_same(client: Milimo, project: projects_pb2.Project) -> None:
    job = _submit(client, project, frames=25)
    seen: list[list[int]] = [[], []]

    def follow(mine: list[int]) -> None:
        mine.extend(_sequences(client.watch(job.id)))

    threads = [threading.Thread(target=follow, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen[0] == seen[1]
    assert seen[0]


def test_request_id_makes_one_job(client: Milimo, project: projects_pb2.Project) -> None:
    request = video_pb2.SubmitVideoRequest(
        project_id=project.id, video=_parameters(frames=9), request_id=str(uuid.uuid4())
    )
    first, second = client.videos.SubmitVideo(request).job, client.videos.SubmitVideo(request).job
    assert first.id == second.id
    attached = client.videos.GenerateVideo(
        video_pb2.GenerateVideoRequest(project_id=project.id, video=request.video, request_id=request.request_id)
    )
    assert {event.job_id for event in attached} == {first.id}
    request.video.num_frames = 10
    with pytest.raises(MilimoError) as refused:
        client.videos.SubmitVideo(request)
    assert (refused.value.code.name, refused.value.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    client.watch(first.id).result()


def test_request_id_finds_its_job_also_when_its_input_is_gone(
    client: Milimo, project: projects_pb2.Project, tmp_path: Path
) -> None:
    path = tmp_path / "start.png"
    Image.new("RGB", (64, 64), "red").save(path)
    image = client.upload(path, project_id=project.id)
    video = video_pb2.VideoParameters(
        prompt="the sea",
        num_frames=9,
        width=130,
        height=64,
        conditions=[video_pb2.VideoCondition(asset_id=image.id)],
    )
    request = video_pb2.SubmitVideoRequest(project_id=project.id, video=video, request_id=str(uuid.uuid4()))
    job = client.videos.SubmitVideo(request).job
    watch = client.watch(job.id)
    notices = [event.notice.code for event in watch if event.HasField("notice")]
    assert notices == ["SIZE_ROUNDED"], "told once, before the work begins"
    assert watch.result().state == jobs_pb2.JOB_STATE_SUCCEEDED
    client.assets.DeleteAsset(assets_pb2.DeleteAssetRequest(asset_id=image.id))
    assert client.videos.SubmitVideo(request).job.id == job.id


def test_cancel_ends_soon_and_leaves_nothing(client: Milimo, project: projects_pb2.Project) -> None:
    job = _submit(client, project, seed=9)
    watch = client.watch(job.id)
    _running(watch)
    client.jobs.CancelJob(jobs_pb2.CancelJobRequest(job_id=job.id))
    rest = list(watch)
    # A watcher hears of some steps only: the engine's tests count them where they are done.
    stages = {event.progress.stage for event in rest if event.HasField("progress")}
    assert stages <= {"stage_1"}, "it ends in the stage in which it was cancelled"
    assert rest[-1].state == jobs_pb2.JOB_STATE_CANCELLED
    done = client.jobs.GetJob(jobs_pb2.GetJobRequest(job_id=job.id)).job
    assert done.state == jobs_pb2.JOB_STATE_CANCELLED
    assert not done.assets
    # The lease is free for the next one.
    assert client.watch(_submit(client, project, frames=9).id).result().state == jobs_pb2.JOB_STATE_SUCCEEDED


def test_job_that_waits_can_be_cancelled(client: Milimo, project: projects_pb2.Project) -> None:
    # Long enough that the second one still waits when it is watched, on a fast machine too.
    first, second = _submit(client, project, seed=10, frames=481), _submit(client, project, seed=11)
    watch = client.watch(second.id)
    place = next(event.queue_position for event in watch if event.HasField("queue_position"))
    assert place.reason
    client.jobs.CancelJob(jobs_pb2.CancelJobRequest(job_id=second.id))
    assert watch.result().state == jobs_pb2.JOB_STATE_CANCELLED
    assert client.watch(first.id).result().state == jobs_pb2.JOB_STATE_SUCCEEDED


def test_retry_is_a_new_job_with_the_same_result(client: Milimo, project: projects_pb2.Project) -> None:
    job = client.watch(_submit(client, project, frames=9).id).result()
    retried = client.jobs.RetryJob(jobs_pb2.RetryJobRequest(job_id=job.id)).job
    assert retried.id != job.id
    assert retried.retry_of == job.id
    assert client.watch(retried.id).result().assets[0].sha256 == job.assets[0].sha256
