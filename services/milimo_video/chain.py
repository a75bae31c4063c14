"""Makes the chunks of a long video one by one. Each goes on from a file that the one before it left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from milimo_video import stage_costs
from milimo_video.continuation import HandOff, statistics_of
from milimo_video.decode import decode_audio, decode_video
from milimo_video.encode import Mp4Writer, crop_centre
from milimo_video.engine import denoise_chunk
from milimo_video.geometry import audio_samples
from milimo_video.request import Handoff
from milimo_video.temporal import doubled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from milimo_runtime.observer import Observer
    from numpy.typing import NDArray

    from milimo_video.chunk import Chunk
    from milimo_video.decode import Tiling
    from milimo_video.material import Material
    from milimo_video.models import VideoModels
    from milimo_video.plan import VideoPlan
    from milimo_video.request import VideoRequest
    from milimo_video.stages import Latents
    from milimo_video.text import PromptCache


@dataclass(frozen=True, kw_only=True)
class ChunkFiles:
    """What a chunk leaves.

    `segment`: its new frames as an MP4 file without sound; `sound`: the samples of all its frames, those that it
    repeats too, float32 [2, n] as .npy; `hand_off`: what the next chunk needs, safetensors; the last has none.
    """

    segment: Path
    sound: Path
    hand_off: Path


def make_chunk(
    models: VideoModels,
    request: VideoRequest,
    plan: VideoPlan,
    chunk: Chunk,
    material: Mapping[str, Material],
    before: HandOff | None,
    observer: Observer,
    files: ChunkFiles,
    *,
    prompts: PromptCache,
    tiling: Tiling,
) -> None:
    """Makes one chunk of a chained video and writes its files. `before` is what the chunk before it, or footage, gave.

    The files depend on nothing else, and are the same each time. Raises as `milimo_video.engine.generate`.
    """
    assert before is not None or chunk.span.overlap == 0, "frames are repeated that nobody gave"
    half, latents = denoise_chunk(models, request, plan, chunk, material, before, observer, prompts)
    last = chunk.span.index == len(plan.chunks) - 1
    with files.sound.open("wb") as file:
        np.save(file, decode_audio(models, latents.audio, sound_samples(plan, chunk, models.audio_sample_rate)))
    tail = _write_segment(models, plan, chunk, latents, observer, files.segment, tiling, keep_tail=not last)
    if not last:
        _hand_off(request, plan, half, latents, tail, before).save(files.hand_off)


def sound_samples(plan: VideoPlan, chunk: Chunk, rate: int) -> int:
    """Samples of a chunk's sound: from the first frame that it repeats to the last that it adds, or leads to."""
    span = chunk.span
    trail = plan.trail if span.index == len(plan.chunks) - 1 else 0
    first = audio_samples(span.start - span.overlap, plan.fps, rate)
    return audio_samples(span.start + span.kept + trail, plan.fps, rate) - first


def overlap_samples(plan: VideoPlan, chunk: Chunk, rate: int) -> int:
    """Samples of the frames that a chunk repeats."""
    span = chunk.span
    return audio_samples(span.start, plan.fps, rate) - audio_samples(span.start - span.overlap, plan.fps, rate)


def _write_segment(
    models: VideoModels,
    plan: VideoPlan,
    chunk: Chunk,
    latents: Latents,
    observer: Observer,
    path: Path,
    tiling: Tiling,
    *,
    keep_tail: bool,
) -> NDArray[np.uint8]:
    """Decodes and encodes piece by piece; returns the chunk's last frames, uncropped, when they are to be kept."""
    span = chunk.span
    begin, end = span.overlap, span.overlap + span.kept
    shape = (plan.overlap_frames if keep_tail else 0, plan.model_height, plan.model_width, 3)
    tail = np.zeros(shape, dtype=np.uint8)
    tail_begin = span.frames - shape[0]
    observer.begin(chunk.stage_prefix + stage_costs.DECODE, span.kept)
    with Mp4Writer(
        path, width=plan.width, height=plan.height, fps=plan.fps, sample_rate=None, comment="", description=""
    ) as writer:
        made = 0
        for frames in decode_video(models, latents.video, tiling):
            wanted = frames[max(0, begin - made) : max(0, end - made)]
            if len(wanted):
                writer.write_frames(crop_centre(wanted, plan.width, plan.height))
                observer.advance(len(wanted))
            late = frames[max(0, tail_begin - made) :]
            made += len(frames)
            if keep_tail and len(late):
                tail[made - len(late) - tail_begin : made - tail_begin] = late
            if made >= end and not keep_tail:
                break
    return tail


def _hand_off(
    request: VideoRequest,
    plan: VideoPlan,
    half: torch.Tensor,
    latents: Latents,
    tail: NDArray[np.uint8],
    given: HandOff | None,
) -> HandOff:
    statistics = None
    if request.match_statistics:
        # Those of the first chunk, handed on from one to the next.
        known = None if given is None else given.statistics
        statistics = known or statistics_of(half)
    if request.handoff is Handoff.REENCODE:
        return HandOff(frames=torch.from_numpy(tail), statistics=statistics)
    slices = plan.overlap.slices
    if latents.half_rate is None:
        return HandOff(half=_end(half, slices), full=_end(latents.video, slices), statistics=statistics)
    return HandOff(
        half=_end(half, slices),
        full=_end(latents.half_rate, slices),
        doubled=_end(latents.video, doubled(slices)),
        statistics=statistics,
    )


def _end(latents: torch.Tensor, slices: int) -> torch.Tensor:
    return latents[:, :, -slices:].float().cpu().contiguous()
