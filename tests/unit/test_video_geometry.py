from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from milimo_video.geometry import (
    align_overlap,
    audio_latents,
    audio_samples,
    chunk_spans,
    latent_frames,
    model_frames,
    round_up,
    video_tokens,
)

OVERLAP = align_overlap(24)


@pytest.mark.parametrize(
    ("asked", "made"), [(1, 1), (2, 9), (8, 9), (9, 9), (10, 17), (100, 105), (120, 121), (121, 121), (122, 129)]
)
def test_frames_are_rounded_up_to_8k_plus_1(asked: int, made: int) -> None:
    assert model_frames(asked) == made
    assert latent_frames(made) == (made - 1) // 8 + 1


@pytest.mark.parametrize(("value", "multiple", "rounded"), [(2, 64, 64), (64, 64, 64), (65, 64, 128), (65, 32, 96)])
def test_sizes_are_rounded_up(value: int, multiple: int, rounded: int) -> None:
    assert round_up(value, multiple) == rounded


@pytest.mark.parametrize(
    ("overlap", "slices", "frames"), [(1, 1, 1), (2, 2, 9), (9, 2, 9), (10, 3, 17), (24, 4, 25), (25, 4, 25)]
)
def test_overlap_is_aligned_to_the_latent_grid(overlap: int, slices: int, frames: int) -> None:
    aligned = align_overlap(overlap)
    assert (aligned.slices, aligned.frames) == (slices, frames)


def test_tokens_and_audio_of_the_default_video() -> None:
    assert video_tokens(768, 512, 121) == 16 * 16 * 24
    assert video_tokens(384, 256, 121) == 16 * 8 * 12
    assert audio_latents(121, 25) == 121
    assert audio_samples(121, 25) == 116_160


@pytest.mark.parametrize(
    ("frames", "chunks", "last_kept", "last_frames"),
    [
        (2, 1, 2, 9),
        (121, 1, 121, 121),
        (122, 2, 1, 33),
        (217, 2, 96, 121),
        (218, 3, 1, 33),
        (600, 6, 95, 121),
    ],
)
def test_chunks(frames: int, chunks: int, last_kept: int, last_frames: int) -> None:
    spans = chunk_spans(frames, 121, OVERLAP)
    assert len(spans) == chunks == max(1, 1 + math.ceil((frames - 121) / 96))
    assert (spans[-1].kept, spans[-1].frames) == (last_kept, last_frames)


@given(
    frames=st.integers(1, 20_000),
    chunk=st.integers(1, 40).map(lambda k: 8 * k + 1),
    overlap=st.integers(1, 200),
)
def test_chunks_tile_the_video(frames: int, chunk: int, overlap: int) -> None:
    aligned = align_overlap(overlap)
    assert overlap <= aligned.frames < overlap + 8
    if aligned.frames >= chunk:
        with pytest.raises(ValueError, match="leaves nothing new"):
            chunk_spans(frames, chunk, aligned)
        return
    spans = chunk_spans(frames, chunk, aligned)
    assert sum(span.kept for span in spans) == frames
    start = 0
    for index, span in enumerate(spans):
        assert span.index == index
        assert span.start == start
        start += span.kept
        assert span.overlap == (aligned.frames if index else 0)
        # As long as it must be, and no longer.
        assert span.frames == model_frames(span.overlap + span.kept) <= chunk
        if index < len(spans) - 1:
            assert span.frames == chunk == span.overlap + span.kept


def test_a_chunk_off_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="8k \\+ 1"):
        chunk_spans(10, 120, OVERLAP)


@given(frames=st.integers(1, 20_000), fps=st.sampled_from([24, 25, 30, 48, 50, 60]))
def test_audio_lasts_as_long_as_the_video(frames: int, fps: int) -> None:
    assert abs(audio_samples(frames, fps) / 24_000 - frames / fps) <= 0.5 / 24_000
