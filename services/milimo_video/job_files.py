"""Files of a video job: its folder for what is in the making, and its result."""

from __future__ import annotations

import contextlib
import json
import shutil
from typing import TYPE_CHECKING, Final

from milimo_runtime.artefacts import commit_file
from milimo_runtime.assets import AssetKind, MediaFacts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from milimo_runtime.assets import Asset
    from milimo_runtime.job_run import JobRun
    from milimo_runtime.model_process import ModelProcess

    from milimo_video.loaded import LoadedVideo
    from milimo_video.request import VideoRequest
    from milimo_video.result import VideoResult

VIDEO_ARTEFACT: Final = "video"
_NAME_CHARACTERS: Final = 80


@contextlib.contextmanager
def scratch_folder(process: ModelProcess[LoadedVideo], run: JobRun) -> Iterator[Path]:
    """A folder for what the job is making; gone afterwards with all that is still in it."""
    folder = process.scratch / run.job.id
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def commit_video(
    run: JobRun,
    process: ModelProcess[LoadedVideo],
    request: VideoRequest,
    result: VideoResult,
    *,
    partial: bool = False,
) -> Asset:
    """Makes the finished file the job's result; `partial`: of a job that was cancelled. Raises JobTakenOver."""
    return commit_file(
        run,
        process.media,
        result.path,
        MediaFacts(
            kind=AssetKind.VIDEO,
            media_type="video/mp4",
            extension="mp4",
            width=result.width,
            height=result.height,
            num_frames=result.num_frames,
            fps=result.fps,
            duration_seconds=result.num_frames / result.fps,
        ),
        artefact=VIDEO_ARTEFACT,
        name=request.prompt[:_NAME_CHARACTERS],
        parameters=json.loads(result.parameters_json),
        thumbnail=result.thumbnail_path,
        fraction=run.fraction if partial else 1.0,
    )
