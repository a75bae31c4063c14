"""The grids of LTX-2: what sizes and lengths the model can make, and how chunks share frames.

Pure integer arithmetic; nothing here knows torch. A pixel frame is a frame of the video; a latent frame stands for
eight of them, except the first, which stands for one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

# Properties of the video autoencoder. Another one may have a spatial compression that divides this one.
SPATIAL_COMPRESSION = 32
TEMPORAL_COMPRESSION = 8
# Stage 1 works at half the size, and that half must still be a multiple of the autoencoder's 32.
TWO_STAGE_MULTIPLE = 2 * SPATIAL_COMPRESSION
AUDIO_LATENTS_PER_SECOND = 25
AUDIO_SAMPLE_RATE = 24_000


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `value` (≥ 1)."""
    return -(-value // multiple) * multiple


def model_frames(num_frames: int) -> int:
    """The smallest 8k + 1 that is at least `num_frames` (≥ 1): the lengths that the autoencoder can decode to."""
    return round_up(num_frames - 1, TEMPORAL_COMPRESSION) + 1


def latent_frames(frames: int) -> int:
    """Latent frames of `frames` pixel frames, where `frames` is 8k + 1."""
    return (frames - 1) // TEMPORAL_COMPRESSION + 1


def video_tokens(width: int, height: int, frames: int, compression: int = SPATIAL_COMPRESSION) -> int:
    """Tokens of the transformer's video stream: one per latent position. Width and height are multiples of 32."""
    return latent_frames(frames) * (height // compression) * (width // compression)


def resampled(frames: int, fps: float, wanted_fps: float) -> int:
    """Frames at `wanted_fps` that `frames` at `fps` last, at least one."""
    return max(1, round(frames * wanted_fps / fps)) if fps > 0 else frames


def audio_latents(frames: int, fps: int) -> int:
    """Latents of the audio that goes with `frames` frames at `fps`."""
    return round(frames / fps * AUDIO_LATENTS_PER_SECOND)


def audio_samples(frames: int, fps: int, sample_rate: int = AUDIO_SAMPLE_RATE) -> int:
    """Samples per channel of audio that lasts as long as `frames` frames at `fps`, to the nearest sample."""
    return round(Fraction(frames * sample_rate, fps))


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Frames that two neighbouring chunks share, on the latent grid.

    Latent 0 stands for one frame and every other for eight, so `slices` latents at the start of a chunk stand for
    8 · (slices − 1) + 1 frames. These are trimmed from the later chunk.
    """

    slices: int
    frames: int


def align_overlap(frames: int) -> Overlap:
    """The overlap that covers `frames` (≥ 1) frames asked for: ceil((frames − 1) / 8) + 1 latents."""
    slices = -(-(frames - 1) // TEMPORAL_COMPRESSION) + 1
    return Overlap(slices=slices, frames=(slices - 1) * TEMPORAL_COMPRESSION + 1)


@dataclass(frozen=True, kw_only=True)
class Span:
    """What one chunk contributes.

    The chunk makes `frames` frames (8k + 1). Its first `overlap` frames repeat the end of the chunk before it and are
    trimmed; the next `kept` frames are frames `start` … `start + kept − 1` of the result; what is left over at the
    end was made only because of the grid.
    """

    index: int
    start: int
    overlap: int
    kept: int
    frames: int


def whole_latents(frames: int) -> int:
    """The largest 8k + 1 that is at most `frames`, 0 for none: as many frames as can be encoded."""
    return (frames - 1) // TEMPORAL_COMPRESSION * TEMPORAL_COMPRESSION + 1 if frames > 0 else 0


def chunk_spans(num_frames: int, chunk_frames: int, overlap: Overlap, *, lead: int = 0) -> tuple[Span, ...]:
    """Cuts `num_frames` (≥ 1) into chunks of at most `chunk_frames` (8k + 1, more than the overlap's frames).

    There are 1 + ceil((N − chunk) / (chunk − overlap)) chunks, at least one; the last is only as long as it must be.
    With `lead` (8k + 1, at most the overlap's frames) the first chunk too repeats so many frames, of a video before.
    Raises `ValueError` when the chunk is off the grid or has no room for a new frame.
    """
    if model_frames(chunk_frames) != chunk_frames:
        raise ValueError(f"a chunk has 8k + 1 frames, not {chunk_frames}")
    if overlap.frames >= chunk_frames:
        raise ValueError(f"an overlap of {overlap.frames} frames leaves nothing new in a chunk of {chunk_frames}")
    first = min(num_frames, chunk_frames - lead)
    spans = [Span(index=0, start=0, overlap=lead, kept=first, frames=model_frames(lead + first))]
    step = chunk_frames - overlap.frames
    for start in range(first, num_frames, step):
        kept = min(step, num_frames - start)
        spans.append(
            Span(
                index=len(spans),
                start=start,
                overlap=overlap.frames,
                kept=kept,
                frames=model_frames(overlap.frames + kept),
            )
        )
    return tuple(spans)


def with_trail(
    spans: tuple[Span, ...], chunk_frames: int, overlap: Overlap, trail: int
) -> tuple[tuple[Span, ...], int]:
    """The same spans with room for `trail` (8k + 1) more frames after the last kept one, within its chunk.

    A last chunk that is too long for that leaves frames to one more. Returns the spans and the trail; it is 0, and the
    spans are as they were, when there is no room.
    """
    *before, last = spans
    if not trail or last.overlap + last.kept + trail <= chunk_frames:
        frames = model_frames(last.overlap + last.kept + trail)
        return (*before, replace(last, frames=frames)), trail
    # A chunk that another follows must end on the grid.
    shorter = whole_latents(last.overlap + last.kept - 1)
    rest = last.overlap + last.kept - shorter
    if shorter < max(last.overlap + 1, overlap.frames) or overlap.frames + rest + trail > chunk_frames:
        return spans, 0
    kept = shorter - last.overlap
    one_more = Span(
        index=last.index + 1,
        start=last.start + kept,
        overlap=overlap.frames,
        kept=rest,
        frames=model_frames(overlap.frames + rest + trail),
    )
    return (*before, replace(last, kept=kept, frames=shorter), one_more), trail
