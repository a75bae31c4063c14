"""What a video is when it is finished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from milimo_video.encode import write_thumbnail

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from milimo_video.plan import VideoPlan
    from milimo_video.request import VideoRequest


@dataclass(frozen=True, kw_only=True)
class VideoResult:
    """A finished video and its thumbnail, with what a media store records of them."""

    path: Path
    thumbnail_path: Path
    width: int
    height: int
    num_frames: int
    fps: int
    seed: int
    audio_sample_rate: int
    parameters_json: str


def finished_video(
    request: VideoRequest,
    plan: VideoPlan,
    path: Path,
    first_frame: NDArray[np.uint8],
    *,
    sample_rate: int,
    parameters_json: str,
) -> VideoResult:
    """What is at `path`, the video of `plan`. Writes the thumbnail beside it, with the suffix ".jpg".

    `first_frame`: RGB bytes [height, width, 3]; `sample_rate`: samples of the sound per second; `parameters_json`: as
    they stand in the file.
    """
    thumbnail = path.with_suffix(".jpg")
    write_thumbnail(first_frame, thumbnail)
    return VideoResult(
        path=path,
        thumbnail_path=thumbnail,
        width=plan.width,
        height=plan.height,
        num_frames=plan.num_frames,
        fps=plan.fps,
        seed=request.seed,
        audio_sample_rate=sample_rate,
        parameters_json=parameters_json,
    )
