"""Where the frames that are made lie in the result, and in which chunks: a new video, the end of one, a span of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from milimo_video.geometry import chunk_spans, whole_latents, with_trail
from milimo_video.temporal import doubled_spans, halved

if TYPE_CHECKING:
    from milimo_video.geometry import Overlap, Span
    from milimo_video.request import VideoRequest


@dataclass(frozen=True, kw_only=True)
class Place:
    """The `frames` frames from `first_frame` of the result on, made in chunks of these spans, counted from there.

    `trail` frames of a video that stays follow them: the last chunk leads to these.
    """

    first_frame: int
    frames: int
    spans: tuple[Span, ...]
    trail: int


def place_in(request: VideoRequest, chunk_frames: int, overlap: Overlap) -> Place:
    """The place of what `request` asks for; `chunk_frames` and `overlap` are as in `chunk_spans`.

    With a temporal stage both are frames at half the rate, and the spans those of the result.
    """
    if request.upscale:
        return _doubled_place(request, chunk_frames, overlap)
    if request.extension is not None:
        lead = whole_latents(min(overlap.frames, request.extension.frames))
        spans = chunk_spans(request.num_frames, chunk_frames, overlap, lead=lead)
        return Place(first_frame=0, frames=request.num_frames, spans=spans, trail=0)
    if request.retake is not None:
        retake = request.retake
        frames = retake.last_frame - retake.first_frame + 1
        lead = whole_latents(min(overlap.frames, retake.first_frame))
        trail = whole_latents(min(overlap.frames, retake.frames - 1 - retake.last_frame))
        spans = chunk_spans(frames, chunk_frames, overlap, lead=lead)
        spans, trail = with_trail(spans, chunk_frames, overlap, trail)
        return Place(first_frame=retake.first_frame, frames=frames, spans=spans, trail=trail)
    spans = chunk_spans(request.num_frames, chunk_frames, overlap)
    return Place(first_frame=0, frames=request.num_frames, spans=spans, trail=0)


def _doubled_place(request: VideoRequest, chunk_frames: int, overlap: Overlap) -> Place:
    lead, frames = 0, halved(request.num_frames)
    if request.extension is not None:
        lead = whole_latents(min(overlap.frames, (request.extension.frames + 1) // 2))
        frames = (request.num_frames + 1) // 2
    spans = chunk_spans(frames, chunk_frames, overlap, lead=lead)
    return Place(first_frame=0, frames=request.num_frames, spans=doubled_spans(spans, request.num_frames), trail=0)
