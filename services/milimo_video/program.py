"""The work of a video job: weights under a lease, one durable step that leaves the finished file."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from milimo_runtime.artefacts import commit_file
from milimo_runtime.assets import AssetKind, MediaFacts, require_asset
from milimo_runtime.images import decode_image
from milimo_runtime.progress import Stage

from milimo_video import job_parameters
from milimo_video.plan import plan_video

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from milimo_runtime.device import DevicePlan
    from milimo_runtime.job_run import JobObserver, JobRun
    from milimo_runtime.model_process import ModelProcess
    from milimo_runtime.registry import InstalledModel
    from PIL.Image import Image

    from milimo_video.models import VideoModels
    from milimo_video.plan import VideoPlan
    from milimo_video.request import VideoRequest
    from milimo_video.text import PromptCache

_ARTEFACT: Final = "video"
_CACHED_PROMPTS: Final = 64
_NAME_CHARACTERS: Final = 80


@dataclass(frozen=True, kw_only=True)
class LoadedVideo:
    """The weights and what is kept beside them; dropped together."""

    models: VideoModels
    prompts: PromptCache

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights."""
        return self.models.weight_bytes


def load(installed: InstalledModel, devices: DevicePlan, check: Callable[[], None]) -> LoadedVideo:
    """Loads the checkpoint as the plan says. Imports torch and diffusers. Raises ModelMissing and what `check` does."""
    from milimo_video.models import load_models
    from milimo_video.text import PromptCache

    manifest = installed.manifest
    models = load_models(
        installed.root,
        name=installed.full_name,
        checkpoint="dev" if manifest.checkpoint == "dev" else "distilled",
        devices=devices,
        check=check,
    )
    return LoadedVideo(models=models, prompts=PromptCache(_CACHED_PROMPTS))


class VideoProgram:
    """Makes videos: the program of the job kind VIDEO."""

    def __init__(self, process: ModelProcess[LoadedVideo]) -> None:
        self._process = process

    def run(self, run: JobRun) -> None:
        """Makes the video as one durable step."""
        request = job_parameters.from_json(run.job.parameters)
        checkpoint = self._process.model.installed().manifest.checkpoint
        plan = plan_video(request, "dev" if checkpoint == "dev" else "distilled")
        stages = [Stage(name=stage.name, steps=stage.steps, cost=stage.step_cost) for stage in plan.stages]

        def work(loaded: LoadedVideo, observer: JobObserver) -> Mapping[str, Any]:
            return self._make(run, request, plan, loaded, observer)

        run.step(_ARTEFACT, self._process.model.residency(), stages, work)

    def _make(
        self, run: JobRun, request: VideoRequest, plan: VideoPlan, loaded: LoadedVideo, observer: JobObserver
    ) -> Mapping[str, Any]:
        earlier = run.committed(_ARTEFACT)
        if earlier is not None:
            # Stored by an attempt that died before the step was recorded.
            return {"asset_id": earlier.id}
        from milimo_video.decode import Tiling
        from milimo_video.engine import generate

        folder = self._process.scratch / run.job.id
        folder.mkdir(parents=True, exist_ok=True)
        try:
            result = generate(
                loaded.models,
                request,
                plan,
                self._images(run, request),
                observer,
                folder / "video.mp4",
                prompts=loaded.prompts,
                tiling=Tiling(),
            )
            asset = commit_file(
                run,
                self._process.media,
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
                artefact=_ARTEFACT,
                name=request.prompt[:_NAME_CHARACTERS],
                parameters=json.loads(result.parameters_json),
                thumbnail=result.thumbnail_path,
                fraction=1.0,
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return {"asset_id": asset.id}

    def _images(self, run: JobRun, request: VideoRequest) -> Mapping[str, Image]:
        """The images of the request's conditions by asset id. Raises NotFound when one was deleted meanwhile."""
        images: dict[str, Image] = {}
        with self._process.database.read() as session:
            assets = [
                require_asset(session, condition.asset_id, field_name=f"video.conditions[{index}].asset_id")
                for index, condition in enumerate(request.conditions)
                if condition.kind == "image"
            ]
        for asset in assets:
            with self._process.media.local(asset.key, scratch=self._process.scratch) as path:
                images[asset.id] = decode_image(path, field="video.conditions")
        return images
