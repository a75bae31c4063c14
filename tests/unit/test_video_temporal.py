"""The temporal stage's arithmetic: frames that are made at half the rate, and what becomes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from milimo_runtime.errors import InvalidArgument
from milimo_runtime.registry import InstalledModel, Manifest, ModelFootprint
from milimo_video import job_parameters, limits
from milimo_video.chain import overlap_samples, sound_samples
from milimo_video.chunk import ChunkCondition
from milimo_video.geometry import audio_samples, model_frames, video_tokens
from milimo_video.messages import plan_message
from milimo_video.plan import VideoPlan, plan_video
from milimo_video.request import Condition, Extension, Lora, Retake, VideoRequest
from milimo_video.temporal import at_half_rate, conditions_at_half_rate, doubled, halved

ASK = VideoRequest(prompt="a red ball", seed=7, fps=50, upscale=True)


def half_frames(plan: VideoPlan) -> list[int]:
    return [at_half_rate(chunk).span.frames for chunk in plan.chunks]


@pytest.mark.parametrize(
    ("frames", "first_stage", "made", "starts"),
    [
        (2, [9], [17], [0]),
        (9, [9], [17], [0]),
        (17, [9], [17], [0]),
        (18, [17], [33], [0]),
        (121, [65], [129], [0]),
        (129, [65], [129], [0]),
        (130, [65, 25], [129, 49], [0, 129]),
        (225, [65, 65], [129, 129], [0, 129]),
        (226, [65, 65, 25], [129, 129, 49], [0, 129, 225]),
        (250, [65, 65, 33], [129, 129, 65], [0, 129, 225]),
    ],
)
def test_frames_of_a_length(frames: int, first_stage: list[int], made: list[int], starts: list[int]) -> None:
    """Half of the frames and one are made first, 8k + 1; a chunk repeats 33 frames, which are 17 of these."""
    plan = plan_video(replace(ASK, num_frames=frames), "distilled")
    assert half_frames(plan) == first_stage
    assert [chunk.span.frames for chunk in plan.chunks] == made
    assert [chunk.span.start for chunk in plan.chunks] == starts
    assert [chunk.span.overlap for chunk in plan.chunks] == [0, *[33] * (len(starts) - 1)]
    assert sum(chunk.span.kept for chunk in plan.chunks) == plan.num_frames == frames
    assert (plan.fps, plan.model_frames) == (50, sum(made))
    assert f"{sum(first_stage)} frames at 25 a second are made first" in plan.reason


def test_stages_and_forwards_are_told() -> None:
    manifest = Manifest(
        name="ltx-2",
        family="tiny",
        purpose="video",
        checkpoint="distilled",
        license="",
        note="",
        advice="",
        footprints=[ModelFootprint(name="bf16", bytes=5), ModelFootprint(name="fp8", bytes=3)],
        files=[],
    )
    asked = replace(ASK, fps=25, loras=(Lora(name="style", weight=0.5),))
    plan = plan_video(asked, "distilled")
    told = plan_message(plan, asked, InstalledModel(manifest=manifest, root=Path()))
    assert [(stage.name, stage.steps, stage.forwards) for stage in told.stages] == [
        ("encode_text", 1, 0),
        ("stage_1", 8, 8),
        ("upsample", 1, 0),
        ("stage_2", 3, 3),
        ("upsample_time", 1, 0),
        ("refine_time", 2, 2),
        ("decode", 121, 0),
    ]
    assert (told.num_frames, told.fps, told.model_frames) == (121, 25, 129)
    assert (told.footprint, told.memory_bytes) == ("bf16", 5)
    assert [(footprint.name, footprint.bytes) for footprint in told.footprints] == [("bf16", 5), ("fp8", 3)]
    assert [(lora.name, lora.weight) for lora in told.loras] == [("style", 0.5)]
    assert told.duration_seconds == pytest.approx(121 / 25)
    assert "12.5 a second" in told.reason
    (chunk,) = plan.chunks
    assert chunk.stage_1_tokens == video_tokens(384, 256, 65)
    assert chunk.stage_2_tokens == video_tokens(768, 512, 65)
    assert chunk.temporal_tokens == video_tokens(768, 512, 129)
    assert [notice.code for notice in plan.notices] == ["FRAMES_ROUNDED"]


def test_without_it_nothing_changes() -> None:
    plan = plan_video(replace(ASK, upscale=False), "distilled")
    assert (plan.temporal_steps, plan.overlap_frames, plan.model_frames) == (0, 25, 121)
    assert [stage.name for stage in plan.stages] == ["encode_text", "stage_1", "upsample", "stage_2", "decode"]


@given(
    frames=st.integers(2, 1000),
    chunk=st.integers(3, 20).map(lambda k: 8 * k + 1),
    overlap=st.none() | st.integers(1, 40),
    continued=st.none() | st.integers(1, 200),
)
def test_frames_of_chunks_follow_each_other(
    frames: int, chunk: int, overlap: int | None, continued: int | None
) -> None:
    extension = None if continued is None else Extension(asset_id="a", frames=continued, seconds=1.0)
    request = replace(ASK, num_frames=frames, overlap_frames=overlap, extension=extension)
    if overlap is not None and model_frames(halved(overlap)) >= model_frames(halved(chunk)):
        with pytest.raises(InvalidArgument, match="nothing new"):
            plan_video(request, "distilled", chunk_frames=chunk)
        return
    plan = plan_video(request, "distilled", chunk_frames=chunk)
    start = 0
    lead = plan.chunks[0].span.overlap
    assert (lead > 0) == (extension is not None)
    assert extension is None or lead <= extension.frames
    for number, one in enumerate(plan.chunks):
        span, half = one.span, at_half_rate(one).span
        assert span.start == start
        start += span.kept
        # What both rates have in common: the first frame, the last, and those that are repeated.
        assert span.frames == 2 * half.frames - 1 <= chunk + 8
        assert half.frames == model_frames(half.frames)
        assert half.overlap == (span.overlap + 1) // 2
        assert span.overlap == (plan.overlap_frames if number else lead)
        assert half.overlap == 0 or half.overlap == model_frames(half.overlap)
        assert 0 < span.kept <= span.frames - span.overlap
        if number < len(plan.chunks) - 1:
            assert span.overlap + span.kept == span.frames == doubled(model_frames(halved(chunk)))
            # The next one begins with the end of this one.
            following = plan.chunks[number + 1].span
            assert following.start - following.overlap == start - plan.overlap_frames
    assert start == frames
    assert overlap is None or plan.overlap_frames >= overlap
    sound = [sound_samples(plan, one, 24_000) for one in plan.chunks]
    shared = [overlap_samples(plan, one, 24_000) for one in plan.chunks]
    assert sum(sound) - sum(shared) == audio_samples(frames, 50)


@pytest.mark.parametrize(
    ("frame", "length", "at", "shown"),
    [
        (0, 1, 0, [0]),
        (1, 1, 1, [0]),
        (2, 1, 1, [0]),
        (119, 1, 60, [0]),
        (120, 1, 60, [0]),
        (0, 33, 0, list(range(0, 33, 2))),
        (8, 25, 4, list(range(0, 17, 2))),
        # From the second frame on: it is the one that both rates have.
        (7, 33, 4, list(range(1, 18, 2))),
        (7, 9, 4, [1]),
    ],
)
def test_conditions_at_half_the_rate(frame: int, length: int, at: int, shown: list[int]) -> None:
    (placed,) = conditions_at_half_rate([ChunkCondition(index=0, frame=frame, frames=length)])
    assert (placed.frame, placed.frames) == (at, len(shown))
    video = np.arange(length, dtype=np.uint8)[:, None, None, None]
    assert placed.shown(video).ravel().tolist() == shown


def test_references_are_counted_at_half_the_rate() -> None:
    clip = Condition(asset_id="c", kind="video", frames=200)
    request = replace(ASK, conditions=(clip,), loras=(Lora(name="depth", in_context=True),))
    (chunk,) = plan_video(request, "distilled").chunks
    assert chunk.stage_1_tokens == video_tokens(384, 256, 65) + video_tokens(384, 256, 57)
    assert chunk.temporal_tokens == video_tokens(768, 512, 129)


def test_what_it_cannot_do_is_refused() -> None:
    retake = Retake(asset_id="a", frames=121, first_frame=0, last_frame=8)
    with pytest.raises(InvalidArgument, match="own frame rate") as caught:
        plan_video(replace(ASK, retake=retake), "distilled")
    assert [violation.field for violation in caught.value.violations] == ["upscale"]
    with pytest.raises(InvalidArgument, match="33 on the latent grid leave nothing new in a chunk of 33"):
        plan_video(replace(ASK, overlap_frames=18), "distilled", chunk_frames=25)


def test_a_job_keeps_it() -> None:
    assert job_parameters.from_json(job_parameters.to_json(ASK, chunk_frames=121)) == ASK
    before = job_parameters.to_json(replace(ASK, upscale=False), chunk_frames=limits.CHUNK_FRAMES)
    del before["upscale"]
    assert not job_parameters.from_json(before).upscale
