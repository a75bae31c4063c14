"""What the engine reports as it works, and how it stops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from milimo_runtime.job_feed import JobFeed
from milimo_runtime.job_run import JobObserver, JobRun, Signals
from milimo_runtime.jobs import JobKind, NewJob, Subject
from milimo_runtime.observer import JobCancelled
from milimo_runtime.progress import Stage, StageSpeeds
from milimo_video.plan import plan_video
from milimo_video.preview import fit_colour_map, render_preview

from .tiny import SMALL, Recorder, run

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_runtime.job_store import JobStore
    from milimo_video.models import VideoModels


def test_progress_follows_the_plan(models: VideoModels, tmp_path: Path) -> None:
    recorder = Recorder()
    run(models, SMALL, tmp_path / "video.mp4", observer=recorder)
    plan = plan_video(SMALL, "distilled")
    assert recorder.stages == [(stage.name, stage.steps) for stage in plan.stages]
    assert recorder.done == [steps for _, steps in recorder.stages]
    assert len(recorder.previews) == 8 + 3
    assert {image.size for image in recorder.previews} == {(256, 128)}


@pytest.mark.parametrize("steps", [1, 2, 6, 10, 11, 13])
def test_cancelling_stops_within_one_step(models: VideoModels, forwards: list[int], tmp_path: Path, steps: int) -> None:
    # One step each for the text and the upsampler, eight and three for the stages, then the frames.
    passes = {1: 0, 2: 1, 6: 5, 10: 8, 11: 9, 13: 11}
    with pytest.raises(JobCancelled):
        run(models, SMALL, tmp_path / "video.mp4", observer=Recorder(cancel_after=steps))
    assert len(forwards) == passes[steps]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the video is to lie, and nothing else does."""
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("running", [1, 5, 8, 9, 11])
async def test_a_job_that_is_cancelled_during_a_step_begins_no_other(
    models: VideoModels, forwards: list[int], store: JobStore, project: str, folder: Path, running: int
) -> None:
    """Counted in the transformer: what watchers hear of the steps is thinned out for slow readers."""
    new = NewJob(kind=JobKind.VIDEO, subject=Subject(project_id=project), parameters={})
    job, _ = store.submit(new, service="video", worker_address="127.0.0.1:1")
    begun, _ = store.begin_attempt(job.id)
    signals, speeds = Signals(), StageSpeeds()
    feed = JobFeed(store, asyncio.get_running_loop())
    attempt = JobRun(job=begun, store=store, feed=feed, signals=signals, speeds=speeds)
    stages = [
        Stage(name=stage.name, steps=stage.steps, cost=stage.step_cost)
        for stage in plan_video(SMALL, "distilled").stages
    ]
    observer = JobObserver(attempt, stages, speeds, lambda: None)

    def cancel(*_: object) -> None:
        if len(forwards) == running:
            signals.cancel()

    hook = models.text_to_video.transformer.register_forward_pre_hook(cancel)
    with pytest.raises(JobCancelled):
        await asyncio.to_thread(run, models, SMALL, folder / "video.mp4", observer=observer)
    hook.remove()
    assert len(forwards) == running
    assert left_in(folder) == []


def test_cancelling_while_the_file_is_written_removes_it_and_the_next_job_runs(
    models: VideoModels, forwards: list[int], tmp_path: Path
) -> None:
    with pytest.raises(JobCancelled):
        run(models, SMALL, tmp_path / "video.mp4", observer=Recorder(cancel_after=14))
    assert len(forwards) == 11
    assert list(tmp_path.iterdir()) == []
    run(models, SMALL, tmp_path / "video.mp4")
    assert len(forwards) == 22


@pytest.mark.parametrize("colour", [(220, 40, 30), (30, 60, 200), (240, 240, 240), (20, 20, 20)])
def test_preview_shows_colours(models: VideoModels, colour: tuple[int, int, int]) -> None:
    colours = fit_colour_map(models.vae)
    pixels = (torch.tensor(colour) / 127.5 - 1).view(1, 3, 1, 1, 1).expand(-1, -1, 1, 64, 128)
    with torch.no_grad():
        latents = models.vae.encode(pixels).latent_dist.mode()
    latents = (latents - models.vae.latents_mean.view(1, -1, 1, 1, 1)) / models.vae.latents_std.view(1, -1, 1, 1, 1)
    tokens = latents.flatten(2).transpose(1, 2)
    image = render_preview(tokens, frames=1, height=2, width=4, colours=colours)
    assert image.size == (256, 128)
    assert np.abs(np.asarray(image, float).mean(axis=(0, 1)) - colour).max() < 60
