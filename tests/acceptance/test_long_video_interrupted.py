"""A long video whose process is killed, or whose job is cancelled, at every boundary and at seeded moments."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import pytest
from milimo.v1 import arbiter_pb2, jobs_pb2, video_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from milimo import Milimo
    from milimo.v1 import projects_pb2
    from milimo_deploy.running import RunningMesh

SEED = int(os.environ.get("MILIMO_SOAK_SEED", "1"))
MOMENTS = 20
VIDEO = video_pb2.VideoParameters(
    prompt="the sea", seed=4, num_frames=150, overlap_frames=96, width=64, height=64, chunk_prompts=["a storm"]
)
# Chunks of 121 frames that repeat 97: two more, of 24 and 5 new frames.
ENDS = (121, 145, 150)
STAGES = [
    *(
        f"chunk_{number}.{stage}"
        for number in (1, 2, 3)
        for stage in ("encode_text", "stage_1", "upsample", "stage_2", "decode")
    ),
    "join",
]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The first event of this stage or a later one, or with this fraction or more."""

    stage: str = ""
    fraction: float = 0.0

    def reached(self, event: jobs_pb2.JobEvent) -> bool:
        if not event.HasField("progress"):
            return False
        if self.stage:
            return STAGES.index(event.progress.stage) >= STAGES.index(self.stage)
        return event.progress.fraction >= self.fraction

    def __str__(self) -> str:
        return self.stage or f"{self.fraction:.3f}"


_chance = random.Random(SEED)
BOUNDARIES = [Moment(stage=stage) for stage in STAGES]
RANDOM = [Moment(fraction=_chance.uniform(0.0, 0.97)) for _ in range(MOMENTS)]


def _table(sample: Sequence[Moment], rest: Sequence[Moment]) -> list[object]:
    """All moments by name, of which most are for long runs."""
    return [
        *(pytest.param(moment, id=str(moment)) for moment in sample),
        *(pytest.param(moment, id=str(moment), marks=pytest.mark.soak) for moment in rest),
    ]


# Others are tried by `test_long_video`.
SAMPLE = [Moment(stage="chunk_2.decode"), RANDOM[0]]
KILLS = _table(SAMPLE, [*(moment for moment in BOUNDARIES if moment not in SAMPLE), *RANDOM[1:]])
CANCELS = _table(SAMPLE[:1], [*(moment for moment in BOUNDARIES if moment not in SAMPLE), *RANDOM])


def _submit(client: Milimo, project: projects_pb2.Project) -> jobs_pb2.Job:
    return client.videos.SubmitVideo(video_pb2.SubmitVideoRequest(project_id=project.id, video=VIDEO)).job


@pytest.fixture(scope="module")
def undisturbed(mesh: RunningMesh) -> str:
    """The checksum of the video when nothing happens."""
    from milimo import Milimo
    from milimo.v1 import projects_pb2

    with Milimo(mesh.address) as client:
        request = projects_pb2.CreateProjectRequest(project=projects_pb2.Project(name="undisturbed"))
        done = client.watch(_submit(client, client.projects.CreateProject(request).project).id).result()
    assert done.state == jobs_pb2.JOB_STATE_SUCCEEDED, done.error
    return done.assets[0].sha256


@pytest.mark.parametrize("moment", KILLS)
def test_killed_it_goes_on_at_its_chunk_and_gives_the_same_frames(
    client: Milimo,
    project: projects_pb2.Project,
    mesh: RunningMesh,
    jobs_left: Callable[[], list[Path]],
    undisturbed: str,
    moment: Moment,
) -> None:
    watch = client.watch(_submit(client, project).id)
    seen: list[jobs_pb2.JobEvent] = []
    killed: int | None = None
    for event in watch:
        seen.append(event)
        if killed is None and moment.reached(event):
            os.kill(mesh.pid("video"), signal.SIGKILL)
            killed = len(seen)
    assert killed is not None, "the moment never came"
    done = watch.result()
    mesh.wait_until_healthy()
    assert done.state == jobs_pb2.JOB_STATE_SUCCEEDED, done.error
    assert [asset.sha256 for asset in done.assets] == [undisturbed]
    assert [event.chunk_committed.chunk for event in seen if event.HasField("chunk_committed")] == [0, 1, 2]
    fractions = [event.progress.fraction for event in seen if event.HasField("progress")]
    assert fractions == sorted(fractions)
    recovered = [i for i, event in enumerate(seen) if event.state_changed.reason == "RECOVERED"]
    for begin in recovered:
        stored = sum(event.HasField("chunk_committed") for event in seen[:begin])
        again = {event.progress.stage for event in seen[begin:] if event.HasField("progress")}
        assert not any(stage.startswith(f"chunk_{number + 1}.") for stage in again for number in range(stored))
    # Where the kill came too late for the job it changed nothing.
    assert done.attempt == 1 + len(recovered)
    assert jobs_left() == []


@pytest.mark.parametrize("keep", [False, True], ids=["nothing", "kept"])
@pytest.mark.parametrize("moment", CANCELS)
def test_cancelled_it_ends_within_a_step_and_leaves_what_was_asked(
    client: Milimo,
    project: projects_pb2.Project,
    jobs_left: Callable[[], list[Path]],
    tmp_path: Path,
    moment: Moment,
    keep: bool,
) -> None:
    watch = client.watch(_submit(client, project).id)
    seen: list[jobs_pb2.JobEvent] = []
    answered: float | None = None
    for event in watch:
        seen.append(event)
        if answered is None and moment.reached(event):
            client.jobs.CancelJob(jobs_pb2.CancelJobRequest(job_id=event.job_id, keep_partial=keep))
            answered = time.time()
    assert answered is not None, "the moment never came"
    done = watch.result()
    if done.state == jobs_pb2.JOB_STATE_SUCCEEDED:
        # It had ended before it could be cancelled: only at its very end.
        assert moment.stage == "join" or moment.fraction > 0.9
        return
    assert done.state == jobs_pb2.JOB_STATE_CANCELLED
    assert seen[-1].state == jobs_pb2.JOB_STATE_CANCELLED
    late = {
        (event.progress.stage, event.progress.step)
        for event in seen
        if event.HasField("progress") and event.time.ToNanoseconds() / 1e9 > answered
    }
    # The step, or the tile, in which it was told so.
    assert len(late) <= 1
    assert jobs_left() == []
    _require_free_lease(client, done.id)
    stored = sum(event.HasField("chunk_committed") for event in seen)
    assert len(done.assets) == int(keep and stored > 0)
    if done.assets:
        path = client.download(done.assets[0].id, tmp_path / "part.mp4")
        with av.open(str(path)) as container:
            assert sum(1 for _ in container.decode(video=0)) == ENDS[stored - 1] == done.assets[0].num_frames


def _require_free_lease(client: Milimo, job_id: str) -> None:
    """The job's turn is over; the turn ends a moment before the job does, but the arbiter hears of it by itself."""
    deadline = time.monotonic() + 10.0
    for update in client.gpu.WatchStatus(arbiter_pb2.WatchStatusRequest()):
        if all(lease.job_id != job_id for lease in update.status.leases):
            return
        assert time.monotonic() < deadline, "the lease is still held"
