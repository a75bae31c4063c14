"""The temporal stage: what the stages before it make at half the frame rate, so that the result is as asked. Pure.

The temporal upsampler makes 2 F - 1 latent frames of F. A latent frame stands for eight frames, the first for one:
8k + 1 frames at half the rate become 16k + 1, and frame i at half the rate is frame 2 i of the result.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from milimo_video.geometry import Span, whole_latents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milimo_video.chunk import Chunk, ChunkCondition


def doubled(frames: int) -> int:
    """Frames that the temporal stage makes of `frames`, 0 of 0: one between any two."""
    return max(0, 2 * frames - 1)


def halved(frames: int) -> int:
    """The fewest frames of which it makes at least `frames` (≥ 1): ceil((frames - 1) / 2) + 1."""
    return frames // 2 + 1


def doubled_spans(spans: Sequence[Span], num_frames: int) -> tuple[Span, ...]:
    """Spans at half the rate, in frames of the result; the last is trimmed so that `num_frames` are kept in all.

    A chunk adds the frame between the last one before it and its own first new one, so that no frame is missing.
    """
    # With frames to go on from, the first new frame stands between the last of these and the first of the spans.
    between = 0 if spans[0].overlap else 1
    starts = [*(max(0, 2 * span.start - between) for span in spans), num_frames]
    return tuple(
        Span(
            index=span.index,
            start=start,
            overlap=doubled(span.overlap),
            kept=end - start,
            frames=doubled(span.frames),
        )
        for span, start, end in zip(spans, starts, starts[1:], strict=False)
    )


def at_half_rate(chunk: Chunk) -> Chunk:
    """The chunk as the stages before the temporal one make it."""
    span = chunk.span
    halves = Span(
        index=span.index,
        start=(span.start + 1) // 2,
        overlap=(span.overlap + 1) // 2,
        kept=(span.kept + 1) // 2,
        frames=(span.frames + 1) // 2,
    )
    return replace(chunk, span=halves, conditions=conditions_at_half_rate(chunk.conditions))


def conditions_at_half_rate(conditions: Sequence[ChunkCondition]) -> tuple[ChunkCondition, ...]:
    """The conditions at the frame that shows the same moment, or else the next: none but that of frame 0 comes to 0.

    Of a video every second frame is used, from the one that shows the same moment on.
    """
    return tuple(
        replace(
            placed,
            frame=(placed.frame + 1) // 2,
            frames=_whole((placed.frames - placed.frame % 2 + 1) // 2),
            # A single frame has no next one.
            first=placed.first + (placed.frame % 2 if placed.frames > 1 else 0),
            every=2,
        )
        for placed in conditions
    )


def _whole(frames: int) -> int:
    return max(1, whole_latents(frames))
