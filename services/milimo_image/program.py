"""The work of image and inpaint jobs: weights under a lease, one durable step for each image of the batch."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from milimo_runtime.artefacts import commit_file
from milimo_runtime.assets import AssetKind, MediaFacts
from milimo_runtime.job_call import answer_of
from milimo_runtime.media import work_key
from milimo_runtime.progress import Stage
from milimo_runtime.prompt_provider import provider_of

from milimo_image.autoencoder import autoencoders_at
from milimo_image.enhancement import with_enriched_prompt
from milimo_image.ip_adapter_files import has_ip_adapter
from milimo_image.messages import from_json
from milimo_image.plan import FIND_MASK, plan_image
from milimo_image.reference_size import reference_pixels
from milimo_image.request import ImageFormat
from milimo_image.sources import read_found_mask, read_image, read_mask, read_references

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
    from milimo_image.request import ImageRequest, Inpaint, MaskPrompt
    from milimo_image.segmentation import Segmentation

_NAME_CHARACTERS: Final = 80
_EXTENSIONS: Final = {ImageFormat.JPEG: "jpg", ImageFormat.PNG: "png"}


@dataclass(frozen=True, kw_only=True)
class LoadedImage:
    """The weights and what is kept beside them; dropped together."""

    name: str  # of the model, with its family
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
        name=installed.full_name,
        models=load_image_models(installed.root, devices, check),
        caches=Caches(prompts=prompt_cache(), references=reference_cache()),
    )


def is_distilled(installed: InstalledModel) -> bool:
    """Whether the checkpoint runs few steps without guidance."""
    return installed.manifest.checkpoint != "base"


class ImageProgram:
    """Makes and repaints images: the program of the job kinds IMAGE, INPAINT and ELEMENT_VISUAL."""

    def __init__(self, process: ModelProcess[LoadedImage], segmentation: Segmentation) -> None:
        self._process = process
        self._segmentation = segmentation

    def run(self, run: JobRun) -> None:
        """Prepares prompt and mask, then makes the images one after the other."""
        request = from_json(run.job.parameters)
        installed = self._process.model.installed()
        plan = plan_image(
            request,
            is_distilled=is_distilled(installed),
            random_seed=run.job.parameters["seed"],
            autoencoders=autoencoders_at(installed.root),
            ip_adapter=has_ip_adapter(installed.root),
        )
        stages = [Stage(name=stage.name, steps=stage.steps, cost=stage.cost) for stage in plan.stages]
        model = self._process.model
        # References are computed beside the image; one to inpaint is the first of its own.
        pictures = 1 + len(request.references) + (request.inpaint is not None)
        workload = model.workload(width=plan.model_width, height=plan.model_height, frames=pictures)
        if request.enhance_prompt:
            provider = provider_of(self._process.settings)
            request = with_enriched_prompt(run, request, stages, provider, self._segmentation.loop)
        mask_key: str | None = None
        if request.inpaint is not None and request.inpaint.mask_prompt is not None:
            inpaint, prompt = request.inpaint, request.inpaint.mask_prompt

            def find(observer: JobObserver) -> Mapping[str, Any]:
                return {"mask": self._find_mask(run, inpaint.image.asset_id, prompt, observer)}

            # Without a lease: the segmentation needs one of its own.
            mask_key = run.light_step("mask", stages, find)["mask"]
        for index in range(len(plan.seeds)):

            def work(loaded: LoadedImage, observer: JobObserver, index: int = index) -> Mapping[str, Any]:
                return self._make(run, request, plan, index, loaded, observer, mask_key)

            run.step(f"image-{index}", model.residency(), stages, work, workload)

    def _make(
        self,
        run: JobRun,
        request: ImageRequest,
        plan: ImagePlan,
        index: int,
        loaded: LoadedImage,
        observer: JobObserver,
        mask_key: str | None,
    ) -> Mapping[str, Any]:
        artefact = f"image-{index}"
        earlier = run.committed(artefact)
        if earlier is not None:
            # Stored by an attempt that died before the step was recorded.
            return {"asset_id": earlier.id}
        folder = self._process.scratch / run.job.id
        folder.mkdir(parents=True, exist_ok=True)
        try:
            made = self._made(request, plan, index, loaded, observer, mask_key)
            return {"asset_id": self._store(run, request, plan, made, artefact, folder, model=loaded.name)}
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _find_mask(self, run: JobRun, asset_id: str, prompt: MaskPrompt, observer: JobObserver) -> str:
        """Where the mask is in the media store, until the job ends."""
        observer.begin(FIND_MASK, 1)
        segmentation = self._segmentation
        data = answer_of(segmentation.mask(asset_id, prompt), loop=segmentation.loop, signals=run.signals)
        job = run.job
        key = work_key(job.subject.project_id, job.id, f"attempt-{job.attempt}-mask", "png")
        self._process.media.write(data, key, scratch=self._process.scratch)
        observer.advance()
        return key

    def _made(
        self,
        request: ImageRequest,
        plan: ImagePlan,
        index: int,
        loaded: LoadedImage,
        observer: JobObserver,
        mask_key: str | None,
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
            mask=self._mask(request.inpaint, mask_key),
            caches=loaded.caches,
            references=references,
        )

    def _mask(self, inpaint: Inpaint, key: str | None) -> Image | None:
        """The mask that was found, or that the request names, of mode "L". Raises NotFound, InvalidArgument."""
        if key is not None:
            return read_found_mask(self._process, key)
        if inpaint.mask is not None:
            return read_mask(self._process, inpaint.mask.asset_id, field="inpaint.mask_asset_id")
        return None

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
        *,
        model: str,
    ) -> str:
        from milimo_image.output import encode_image, encode_thumbnail

        metadata = replace(made.metadata, parameters={"model": model, **made.metadata.parameters})
        encoded = encode_image(made.image, metadata, request.format)
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
            parameters=json.loads(json.dumps(dict(metadata.parameters))),
            thumbnail=thumbnail,
            fraction=(made.index + 1) / len(plan.seeds),
        )
        return asset.id
