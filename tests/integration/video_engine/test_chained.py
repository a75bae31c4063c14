"""Videos of several chunks: exact, continuous, the same after an interruption, at constant cost."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import torch
from milimo_runtime.observer import JobCancelled, Observer, Silent
from milimo_video.chain import ChunkFiles, make_chunk
from milimo_video.continuation import load_hand_off, statistics_of
from milimo_video.decode import Tiling
from milimo_video.engine import denoise_chunk
from milimo_video.join import join_chunks
from milimo_video.packets import Segment
from milimo_video.plan import VideoPlan, plan_video
from milimo_video.request import Handoff, VideoRequest
from milimo_video.text import PromptCache

from .tiny import SMALL, START, Recorder, decode_file, picture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from milimo_video.models import VideoModels

LONG = replace(SMALL, num_frames=44)
BOTH = pytest.mark.parametrize("handoff", list(Handoff))


def plan_of(request: VideoRequest, chunk_frames: int = 25) -> VideoPlan:
    return plan_video(request, "distilled", chunk_frames=chunk_frames)


def files_of(folder: Path, number: int) -> ChunkFiles:
    return ChunkFiles(
        segment=folder / f"{number}.mp4", sound=folder / f"{number}.npy", hand_off=folder / f"{number}.safetensors"
    )


def make(
    models: VideoModels,
    request: VideoRequest,
    folder: Path,
    number: int,
    observer: Observer | None = None,
    *,
    prompts: PromptCache | None = None,
    chunk_frames: int = 25,
) -> ChunkFiles:
    """One chunk, from nothing but the request and the file of the chunk before."""
    folder.mkdir(exist_ok=True)
    plan = plan_of(request, chunk_frames)
    files = files_of(folder, number)
    make_chunk(
        models,
        request,
        plan,
        plan.chunks[number],
        {"start": picture()},
        load_hand_off(files_of(folder, number - 1).hand_off) if number else None,
        observer or Silent(),
        files,
        prompts=prompts or PromptCache(0),
        tiling=Tiling(),
    )
    return files


def join(
    models: VideoModels,
    request: VideoRequest,
    folder: Path,
    observer: Observer | None = None,
    *,
    chunk_frames: int = 25,
) -> Path:
    @contextlib.contextmanager
    def segment(number: int) -> Iterator[Segment]:
        files = files_of(folder, number)
        yield Segment(video=files.segment, sound=files.sound)

    result = join_chunks(
        request,
        plan_of(request, chunk_frames),
        segment,
        observer or Silent(),
        folder / "video.mp4",
        model=models.name,
        sample_rate=models.audio_sample_rate,
    )
    return result.path


def whole(
    models: VideoModels,
    request: VideoRequest,
    folder: Path,
    observer: Observer | None = None,
    *,
    chunk_frames: int = 25,
) -> Path:
    prompts = PromptCache(4)
    for number in range(len(plan_of(request, chunk_frames).chunks)):
        make(models, request, folder, number, observer, prompts=prompts, chunk_frames=chunk_frames)
    return join(models, request, folder, observer, chunk_frames=chunk_frames)


@BOTH
@pytest.mark.parametrize(
    ("width", "height", "frames", "fps", "chunk_frames"),
    [(128, 64, 44, 25, 25), (70, 66, 18, 30, 17), (62, 64, 27, 60, 25)],
)
def test_result_is_exactly_as_asked(
    models: VideoModels,
    tmp_path: Path,
    handoff: Handoff,
    width: int,
    height: int,
    frames: int,
    fps: int,
    chunk_frames: int,
) -> None:
    request = replace(SMALL, width=width, height=height, num_frames=frames, fps=fps, handoff=handoff)
    path = whole(models, request, tmp_path, chunk_frames=chunk_frames)
    assert decode_file(path).shape == (frames, height, width, 3)
    with av.open(str(path)) as container:
        audio = container.streams.audio[0]
        assert audio.duration is not None
        assert audio.time_base is not None
        assert float(audio.duration * audio.time_base) == pytest.approx(frames / fps, abs=0.5 / fps)
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert heard.std() > 0.01


@BOTH
def test_forward_passes_and_progress_of_each_chunk(
    models: VideoModels, forwards: list[int], tmp_path: Path, handoff: Handoff
) -> None:
    recorder = Recorder()
    request = replace(LONG, handoff=handoff, conditions=(START,))
    whole(models, request, tmp_path, recorder)
    plan = plan_of(request)
    wanted = []
    for chunk in plan.chunks:
        frames = (chunk.span.frames - 1) // 8 + 1
        wanted += [frames * 1 * 2] * 8 + [frames * 2 * 4] * 3
    assert forwards == wanted
    assert recorder.stages == [(stage.name, stage.steps) for stage in plan.stages]
    assert recorder.done == [steps for _, steps in recorder.stages]
    assert len(recorder.previews) == 11 * len(plan.chunks)


@BOTH
def test_made_again_from_any_chunk_on_it_is_the_same(models: VideoModels, tmp_path: Path, handoff: Handoff) -> None:
    """Each chunk is made by itself from files, as after a crash, with another video made in between."""
    request = replace(LONG, handoff=handoff, match_statistics=True, chunk_prompts=("it stops",))
    undisturbed = whole(models, request, tmp_path / "undisturbed").read_bytes()
    folder = tmp_path / "disturbed"
    for number in range(len(plan_of(request).chunks)):
        with pytest.raises(JobCancelled):
            make(models, request, folder, number, Recorder(cancel_after=7))
        make(models, replace(SMALL, seed=5, num_frames=30), tmp_path / "other", 0)
        make(models, request, folder, number)
        for one, other in zip(
            (files_of(folder, number).segment, files_of(folder, number).sound),
            (files_of(tmp_path / "undisturbed", number).segment, files_of(tmp_path / "undisturbed", number).sound),
            strict=True,
        ):
            assert one.read_bytes() == other.read_bytes()
    assert join(models, request, folder).read_bytes() == undisturbed


@pytest.mark.parametrize("after", [1, 5, 10, 12, 14])
def test_cancelling_within_a_chunk_leaves_no_segment(models: VideoModels, tmp_path: Path, after: int) -> None:
    make(models, LONG, tmp_path, 0)
    recorder = Recorder(cancel_after=after)
    with pytest.raises(JobCancelled):
        make(models, LONG, tmp_path, 1, recorder)
    # Frames are decoded and told of a few at a time.
    assert sum(recorder.done[:4]) == min(after, 13)
    assert not files_of(tmp_path, 1).segment.exists()
    assert not files_of(tmp_path, 1).hand_off.exists()


def latents_of(
    models: VideoModels, request: VideoRequest, folder: Path, number: int
) -> tuple[torch.Tensor, torch.Tensor]:
    plan = plan_of(request)
    before = load_hand_off(files_of(folder, number - 1).hand_off)
    half, latents = denoise_chunk(models, request, plan, plan.chunks[number], {}, before, Silent(), PromptCache(0))
    return half, latents.video


def test_latents_that_are_handed_over_stand_at_the_start_of_both_stages(models: VideoModels, tmp_path: Path) -> None:
    request = replace(LONG, handoff=Handoff.LATENT)
    make(models, request, tmp_path, 0)
    handed = load_hand_off(files_of(tmp_path, 0).hand_off)
    assert handed.frames is None
    assert handed.half is not None
    assert handed.full is not None
    assert (handed.half.shape, handed.full.shape) == ((1, 128, 3, 1, 2), (1, 128, 3, 2, 4))
    half, full = latents_of(models, request, tmp_path, 1)
    torch.testing.assert_close(half[:, :, :3], handed.half, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(full[:, :, :3], handed.full, rtol=1e-4, atol=1e-4)
    assert (full[:, :, 3] - handed.full[:, :, 2]).abs().mean() > 0.01
    # What follows depends on them.
    other = tmp_path / "other"
    make(models, replace(request, seed=12), other, 0)
    _, changed = latents_of(models, request, other, 1)
    assert (changed[:, :, 3:] - full[:, :, 3:]).abs().mean() > 1e-4


def test_frames_that_are_handed_over_are_encoded_again(models: VideoModels, tmp_path: Path) -> None:
    request = replace(LONG, handoff=Handoff.REENCODE)
    make(models, request, tmp_path, 0)
    handed = load_hand_off(files_of(tmp_path, 0).hand_off)
    assert handed.half is handed.full is None
    assert handed.frames is not None
    assert handed.frames.shape == (17, 64, 128, 3)
    _, full = latents_of(models, request, tmp_path, 1)
    pixels = handed.frames.permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    with torch.no_grad():
        wanted = models.vae.encode(pixels).latent_dist.mode()
    torch.testing.assert_close(full[:, :, :3], wanted, rtol=1e-3, atol=1e-3)
    # They are the last ones that were shown.
    shown = decode_file(files_of(tmp_path, 0).segment)
    assert len(shown) == 25
    coarse = [frames.mean(axis=3).reshape(17, 16, 4, 32, 4).mean(axis=(2, 4)) for frames in (shown[8:], shown[7:24])]
    wanted_luma = handed.frames.numpy().mean(axis=3).reshape(17, 16, 4, 32, 4).mean(axis=(2, 4))
    assert np.abs(coarse[0] - wanted_luma).mean() < np.abs(coarse[1] - wanted_luma).mean() / 2


@BOTH
def test_statistics_of_all_chunks_are_those_of_the_first(models: VideoModels, tmp_path: Path, handoff: Handoff) -> None:
    plain = replace(LONG, handoff=handoff)
    matched = replace(plain, match_statistics=True)
    for number in range(2):
        make(models, matched, tmp_path, number)
    wanted = load_hand_off(files_of(tmp_path, 0).hand_off).statistics
    handed_on = load_hand_off(files_of(tmp_path, 1).hand_off).statistics
    assert wanted is not None
    assert handed_on is not None
    assert torch.equal(wanted.mean, handed_on.mean)
    half, _ = latents_of(models, matched, tmp_path, 2)
    torch.testing.assert_close(statistics_of(half).mean, wanted.mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(statistics_of(half).deviation, wanted.deviation, rtol=1e-3, atol=1e-3)
    make(models, plain, tmp_path / "plain", 0)
    assert load_hand_off(files_of(tmp_path / "plain", 0).hand_off).statistics is None


def test_a_chunk_has_its_own_prompt_and_seed(models: VideoModels, tmp_path: Path) -> None:
    make(models, LONG, tmp_path, 0)
    _, usual = latents_of(models, LONG, tmp_path, 1)
    _, told = latents_of(models, replace(LONG, chunk_prompts=("it stops",)), tmp_path, 1)
    _, seeded = latents_of(models, replace(LONG, seed=12), tmp_path, 1)
    _, unmoved = latents_of(models, replace(LONG, chunk_prompts=("", "it stops")), tmp_path, 1)
    assert torch.equal(usual, unmoved)
    assert not torch.equal(usual, told)
    assert not torch.equal(usual, seeded)


def test_memory_does_not_grow_with_the_number_of_chunks(root: Path, tmp_path: Path) -> None:
    """Twenty chunks beside two, in a process of their own."""
    child = Path(__file__).parents[2] / "bench" / "child_chain.py"
    command = [sys.executable, str(child), str(root), str(tmp_path)]
    done = subprocess.run(command, input="2\n20\n", check=True, capture_output=True, text=True)
    few, many = (json.loads(line) for line in done.stdout.splitlines())
    assert (len(few["seconds"]), len(many["seconds"])) == (2, 20)
    assert many["peak_bytes"] <= 1.1 * few["peak_bytes"]
