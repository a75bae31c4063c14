"""Videos whose frame rate is doubled: exact in length, told apart, and continuous over chunks."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import torch
from milimo_runtime.errors import ModelMissing
from milimo_runtime.observer import JobCancelled, Silent
from milimo_runtime.registry import InstalledModel, Manifest
from milimo_video.continuation import HandOff, load_hand_off
from milimo_video.encode import read_tags
from milimo_video.engine import denoise_chunk
from milimo_video.installed import meet
from milimo_video.loaded import LoadedVideo
from milimo_video.plan import plan_video
from milimo_video.request import Condition, Extension, Handoff
from milimo_video.text import PromptCache

from .test_chained import files_of, whole
from .tiny import SMALL, START, Recorder, decode_file, run

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_video.models import VideoModels

DOUBLED = replace(SMALL, upscale=True, fps=50)
LONG = replace(DOUBLED, num_frames=44)
# Tokens of a latent frame in stage 1, and in the others.
HALF, FULL = 1 * 2, 2 * 4


def sound_of(path: Path) -> tuple[float, float]:
    """Seconds of a video's sound, and how much it varies."""
    with av.open(str(path)) as container:
        audio = container.streams.audio[0]
        assert audio.duration is not None
        assert audio.time_base is not None
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
        return float(audio.duration * audio.time_base), float(heard.std())


@pytest.mark.parametrize(
    ("frames", "fps", "conditions"),
    [(2, 24, ()), (9, 25, ()), (16, 30, (START,)), (18, 48, ()), (33, 60, (replace(START, frame_index=-1),))],
)
def test_result_is_exactly_as_asked(
    models: VideoModels, tmp_path: Path, frames: int, fps: int, conditions: tuple[Condition, ...]
) -> None:
    path = run(models, replace(DOUBLED, num_frames=frames, fps=fps, conditions=conditions), tmp_path / "video.mp4").path
    shown = decode_file(path)
    assert shown.shape == (frames, 64, 128, 3)
    # Not a blank screen, and not a standing one.
    assert shown.std() > 10
    assert all((one != other).any() for one, other in pairwise(shown))
    seconds, loudness = sound_of(path)
    assert seconds == pytest.approx(frames / fps, abs=0.5 / fps)
    assert loudness > 0.01
    assert json.loads(read_tags(path)["comment"])["upscale"] is True


def test_forward_passes_and_progress(models: VideoModels, forwards: list[int], tmp_path: Path) -> None:
    recorder = Recorder()
    request = replace(DOUBLED, num_frames=33)
    run(models, request, tmp_path / "video.mp4", observer=recorder)
    assert forwards == [3 * HALF] * 8 + [3 * FULL] * 3 + [5 * FULL] * 2
    assert recorder.stages == [(stage.name, stage.steps) for stage in plan_video(request, "distilled").stages]
    assert recorder.done == [steps for _, steps in recorder.stages]
    assert len(recorder.previews) == 8 + 3 + 2


@pytest.mark.parametrize(("after", "passes"), [(13, 11), (14, 11), (15, 12), (16, 13), (17, 13)])
def test_cancelling_stops_within_one_step(
    models: VideoModels, forwards: list[int], tmp_path: Path, after: int, passes: int
) -> None:
    with pytest.raises(JobCancelled):
        run(models, DOUBLED, tmp_path / "video.mp4", observer=Recorder(cancel_after=after))
    assert len(forwards) == passes
    assert list(tmp_path.iterdir()) == []


def test_its_weights_are_read_when_they_are_needed(models: VideoModels, tmp_path: Path) -> None:
    models.temporal.clear()
    run(models, SMALL, tmp_path / "plain.mp4")
    assert not models.temporal
    with pytest.raises(JobCancelled):
        run(models, DOUBLED, tmp_path / "video.mp4", observer=Recorder(cancel_after=14))
    assert models.temporal
    kept = models.temporal.pipeline()
    assert models.temporal.pipeline() is kept
    LoadedVideo(models=models, prompts=PromptCache(0)).drop_caches()
    assert not models.temporal


def test_missing_weights_are_told_before_memory_is_asked_for(root: Path, tmp_path: Path) -> None:
    for folder in root.iterdir():
        if folder.name != "temporal_upsampler":
            (tmp_path / folder.name).symlink_to(folder)
    manifest = Manifest(
        name="ltx-2",
        family="tiny",
        purpose="video",
        checkpoint="distilled",
        license="",
        note="",
        advice="",
        footprints=[],
        files=[],
    )
    installed = InstalledModel(manifest=manifest, root=tmp_path)
    for request in (SMALL, replace(DOUBLED, num_frames=1)):
        assert meet(installed, request) == request
    with pytest.raises(ModelMissing, match=r"temporal upsampler, which `upscale` needs.*milimo models pull") as caught:
        meet(installed, DOUBLED)
    assert caught.value.metadata["folder"] == "temporal_upsampler"


def joined(models: VideoModels, forwards: list[int], folder: Path, handoff: Handoff) -> HandOff:
    """Makes and joins two chunks, and looks at what was done; what the first handed over."""
    recorder = Recorder()
    request = replace(LONG, handoff=handoff)
    path = whole(models, request, folder, recorder)
    assert decode_file(path).shape == (44, 64, 128, 3)
    assert sound_of(path)[0] == pytest.approx(44 / 50, abs=0.01)
    plan = plan_video(request, "distilled", chunk_frames=25)
    assert [chunk.span.frames for chunk in plan.chunks] == [33, 33]
    assert forwards == ([3 * HALF] * 8 + [3 * FULL] * 3 + [5 * FULL] * 2) * 2
    assert recorder.stages == [(stage.name, stage.steps) for stage in plan.stages]
    assert recorder.done == [steps for _, steps in recorder.stages]
    return load_hand_off(files_of(folder, 0).hand_off)


def chunk_after(models: VideoModels, handed: HandOff, handoff: Handoff) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents of the second chunk: before its frame rate is doubled, and after."""
    request = replace(LONG, handoff=handoff)
    plan = plan_video(request, "distilled", chunk_frames=25)
    _, made = denoise_chunk(models, request, plan, plan.chunks[1], {}, handed, Silent(), PromptCache(0))
    assert made.half_rate is not None
    return made.half_rate, made.video


def test_latents_that_are_handed_over_stand_at_the_start_of_each_stage(
    models: VideoModels, forwards: list[int], tmp_path: Path
) -> None:
    handed = joined(models, forwards, tmp_path, Handoff.LATENT)
    assert handed.frames is None
    assert handed.full is not None
    assert handed.doubled is not None
    assert (handed.full.shape[2], handed.doubled.shape[2]) == (2, 3)
    full, finished = chunk_after(models, handed, Handoff.LATENT)
    torch.testing.assert_close(full[:, :, :2], handed.full, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(finished[:, :, :3], handed.doubled, rtol=1e-4, atol=1e-4)
    assert (finished[:, :, 3] - handed.doubled[:, :, 2]).abs().mean() > 0.01


def test_frames_that_are_handed_over_are_encoded_again_at_both_rates(
    models: VideoModels, forwards: list[int], tmp_path: Path
) -> None:
    handed = joined(models, forwards, tmp_path, Handoff.REENCODE)
    assert handed.frames is not None
    assert handed.frames.shape == (17, 64, 128, 3)
    assert handed.doubled is handed.full is None
    full, finished = chunk_after(models, handed, Handoff.REENCODE)
    for made, frames in ((full, handed.frames[::2]), (finished, handed.frames)):
        pixels = frames.permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        with torch.no_grad():
            wanted = models.vae.encode(pixels).latent_dist.mode()
        torch.testing.assert_close(made[:, :, : wanted.shape[2]], wanted, rtol=1e-3, atol=1e-3)


def test_a_video_is_continued_and_a_reference_followed(models: VideoModels, forwards: list[int]) -> None:
    """What is given at the result's rate is shown to each stage at its own."""
    frames = np.random.default_rng(5).integers(0, 256, (33, 64, 128, 3), dtype=np.uint8)
    request = replace(DOUBLED, num_frames=16, extension=Extension(asset_id="a", frames=40, seconds=0.8))
    plan = plan_video(request, "distilled", chunk_frames=49)
    (chunk,) = plan.chunks
    assert (chunk.span.overlap, chunk.span.frames) == (33, 49)
    given = torch.from_numpy(frames)
    _, made = denoise_chunk(models, request, plan, chunk, {}, HandOff(frames=given), Silent(), PromptCache(0))
    with torch.no_grad():
        pixels = given.permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        wanted = models.vae.encode(pixels).latent_dist.mode()
    torch.testing.assert_close(made.video[:, :, :5], wanted, rtol=1e-3, atol=1e-3)

    clip = Condition(asset_id="clip", kind="video", frames=33)
    referred = replace(DOUBLED, num_frames=33, conditions=(clip,))
    plan = plan_video(referred, "distilled")
    forwards.clear()
    denoise_chunk(models, referred, plan, plan.chunks[0], {"clip": frames}, None, Silent(), PromptCache(0))
    assert forwards == [2 * 3 * HALF] * 8 + [3 * FULL] * 3 + [5 * FULL] * 2
