"""Files of a video job: the images that it starts from, its folder for files in the making, its result."""

from __future__ import annotations

import contextlib
import json
import shutil
from typing import TYPE_CHECKING, Final

from milimo_runtime.artefacts import commit_file
from milimo_runtime.assets import AssetKind, MediaFacts, require_asset
from milimo_runtime.images import decode_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from milimo_runtime.assets import Asset
    from milimo_runtime.job_run import JobRun
    from milimo_runtime.model_process import ModelProcess
    from PIL.Image import Image

    from milimo_video.engine import VideoResult
    from milimo_video.program import LoadedVideo
    from milimo_video.request import VideoRequest

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


def condition_images(
    process: ModelProcess[LoadedVideo], request: VideoRequest, conditions: Iterable[int]
) -> Mapping[str, Image]:
    """The images of these conditions of the request by asset id. Raises NotFound when one was deleted meanwhile."""
    images: dict[str, Image] = {}
    with process.database.read() as session:
        assets = [
            require_asset(session, request.conditions[index].asset_id, field_name=f"video.conditions[{index}].asset_id")
            for index in conditions
            if request.conditions[index].kind == "image"
        ]
    for asset in assets:
        with process.media.local(asset.key, scratch=process.scratch) as path:
            images[asset.id] = decode_image(path, field="video.conditions")
    return images


def commit_video(run: JobRun, process: ModelProcess[LoadedVideo], request: VideoRequest, result: VideoResult) -> Asset:
    """Makes the finished file the job's result. Raises JobTakenOver."""
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
        fraction=1.0,
    )
