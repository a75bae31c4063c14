"""Which frames of a reference video an IC-LoRA is shown, at which size, and the tokens that makes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_video.geometry import video_tokens, whole_latents

if TYPE_CHECKING:
    from collections.abc import Iterable

    from milimo_video.request import VideoRequest


def reference_frames(frames: int, temporal_scale: int) -> list[int]:
    """Which of `frames` frames are shown: the first and then every so many, as the LoRA was trained; 8k + 1 of them."""
    chosen = [0, *range(1, frames, temporal_scale)]
    return chosen[: whole_latents(len(chosen))]


def reference_tokens(request: VideoRequest, lengths: Iterable[int], width: int, height: int, compression: int) -> int:
    """Tokens of references of so many frames each in a stage of this size."""
    downscale, temporal_scale = request.reference_scales
    return sum(
        video_tokens(
            width // downscale, height // downscale, len(reference_frames(frames, temporal_scale)), compression
        )
        for frames in lengths
    )
