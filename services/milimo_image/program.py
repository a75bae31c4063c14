"""The work of image and inpaint jobs: weights under a lease, one durable step for each image of the batch."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from milimo_runtime.artefacts import commit_file
from milimo_runtime.assets import AssetKind, MediaFacts
from milimo_runtime.progress import Stage

from milimo_image.autoencoder import autoencoders_at
from milimo_image.messages import from_json
from milimo_image.plan import plan_image
from milimo_image.reference_size import reference_pixels
from milimo_image.request import ImageFormat
from milimo_image.sources import read_image, read_mask, read_references

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from milimo_runtime.device import DevicePlan
    from milimo_runtime.job_run import JobObserver, JobRun
    from milimo_runtime.model_process import ModelProcess
    from milimo_runtime.registry import InstalledModel
    from PIL.Image import Image
    from torch import nn

    from milimo_image.engine import Caches, GeneratedImage
    from milimo_image.models import ImageModels
    from milimo_image.plan import ImagePlan
    from milimo_image.request import ImageRequest

_NAME_CHARACTERS: Final = 80
_EXTENSIONS: Final = {ImageFormat.JPEG: "jpg", ImageFormat.PNG: "png"}


@dataclass(frozen=True, kw_only=True)
class LoadedImage:
    """The weights and what is kept beside them; dropped together."""

    models: ImageModels
    caches: Caches

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights."""
        return self.models.total_bytes

    def modules(self) -> Sequence[nn.Module]:
        """The parts that hold weights."""
        models = self.models
        adapter = () if models.ip_adapter is None else (models.ip_adapter,)
        return (models.transformer, models.vae, models.text_encoder, *adapter)

    def drop_caches(self) -> None:
        """Forgets embeddings and encoded references."""
        self.caches.prompts.clear()
        self.caches.references.clear()


def load(installed: InstalledModel, devices: DevicePlan, check: Callable[[], None]) -> LoadedImage:
    """Loads the checkpoint as the plan says. Imports torch and diffusers. Raises ModelMissing and what `check` does."""
    from milimo_image.engine import Caches
    from milimo_image.models import load_image_models
    from milimo_image.prompts import prompt_cache
    from milimo_image.references import reference_cache

    return LoadedImage(
        models=load_image_models(installed.root, devices, check),
        caches=Caches(prompts=prompt_cache(), references=reference_cache()),
    )


def is_distilled(installed: InstalledModel) -> bool:
    """Whether the checkpoint runs few steps without guidance."""
    return installed.manifest.checkpoint != "base"


class ImageProgram:
    """Makes and repaints images: the program of the job kinds IMAGE and INPAINT."""

    def __init__(self, process: ModelProcess[LoadedImage]) -> None:
        self._process = process

    def run(self, run: JobRun) -> None:
        """Makes the images one after the other."""
        request = from_json(run.job.parameters)
        installed = self._process.model.installed()
        plan = plan_image(
            request,
            is_distilled=is_distilled(installed),
            random_seed=run.job.parameters["seed"],
            autoencoders=autoencoders_at(installed.root),
        )
        stages = [Stage(name=stage.name, steps=stage.steps, cost=stage.cost) for stage in plan.stages]
        for index in range(len(plan.seeds)):

            def work(loaded: LoadedImage, observer: JobObserver, index: int = index) -> Mapping[str, Any]:
                return self._make(run, request, plan, index, loaded, observer)

            run.step(f"image-{index}", self._process.model.residency(), stages, work)

    def _make(
        self,
        run: JobRun,
        request: ImageRequest,
        plan: ImagePlan,
        index: int,
        loaded: LoadedImage,
        observer: JobObserver,
    ) -> Mapping[str, Any]:
        artefact = f"image-{index}"
        earlier = run.committed(artefact)
        if earlier is not None:
            # Stored by an attempt that died before the step was recorded.
            return {"asset_id": earlier.id}
        folder = self._process.scratch / run.job.id
        folder.mkdir(parents=True, exist_ok=True)
        try:
            made = self._made(request, plan, index, loaded, observer)
            return {"asset_id": self._store(run, request, plan, made, artefact, folder)}
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _made(
        self, request: ImageRequest, plan: ImagePlan, index: int, loaded: LoadedImage, observer: JobObserver
    ) -> GeneratedImage:
        from milimo_image.engine import generate
        from milimo_image.inpaint import inpaint

        references = self._references(request, loaded, observer, index)
        if request.inpaint is None:
            images = generate(
                loaded.models,
                request,
                plan,
                observer,
                caches=loaded.caches,
                references=references,
                first=index,
            )
            return next(images)
        return inpaint(
            loaded.models,
            request,
            plan,
            observer,
            image=read_image(self._process, request.inpaint.image.asset_id, field="inpaint.asset_id"),
            mask=read_mask(self._process, request.inpaint.mask.asset_id, field="inpaint.mask_asset_id"),
            caches=loaded.caches,
            references=references,
        )

    def _references(
        self, request: ImageRequest, loaded: LoadedImage, observer: JobObserver, index: int
    ) -> Sequence[Image]:
        """The references as the model takes them. Raises NotFound when one was deleted meanwhile."""
        devices = loaded.models.devices
        used = request.references[: devices.max_references]
        if len(used) < len(request.references) and index == 0:
            observer.notice(
                "REFERENCES_LEFT_OUT",
                f"{len(request.references)} references were given; this device takes the first {len(used)}",
            )
        return read_references(
            self._process,
            [reference.asset_id for reference in used],
            field=f"{'image' if request.inpaint is None else 'inpaint'}.reference_asset_ids",
            max_pixels=reference_pixels(len(used), devices),
        )

    def _store(
        self,
        run: JobRun,
        request: ImageRequest,
        plan: ImagePlan,
        made: GeneratedImage,
        artefact: str,
        folder: Path,
    ) -> str:
        from milimo_image.output import encode_image, encode_thumbnail

        encoded = encode_image(made.image, made.metadata, request.format)
        path, thumbnail = folder / "image", folder / "thumbnail"
        path.write_bytes(encoded.data)
        thumbnail.write_bytes(encode_thumbnail(made.image).data)
        asset = commit_file(
            run,
            self._process.media,
            path,
            MediaFacts(
                kind=AssetKind.IMAGE,
                media_type=encoded.media_type,
                extension=_EXTENSIONS[request.format],
                width=made.image.width,
                height=made.image.height,
                num_frames=1,
            ),
            artefact=artefact,
            name=request.prompt[:_NAME_CHARACTERS],
            parameters=json.loads(json.dumps(dict(made.metadata.parameters))),
            thumbnail=thumbnail,
            fraction=(made.index + 1) / len(plan.seeds),
        )
        return asset.id
