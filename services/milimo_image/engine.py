"""Text to image: a request and its plan become images, with progress after each step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from milimo_runtime.errors import Unimplemented

from milimo_image import defaults
from milimo_image.decode import decode_image_latents
from milimo_image.denoise import Guidance, denoise
from milimo_image.latents import initial_noise
from milimo_image.output import ImageMetadata
from milimo_image.plan import ENCODE_PROMPT, decode_stage, denoise_stage
from milimo_image.preview import preview_image
from milimo_image.prompts import embed_prompt

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from milimo_runtime.observer import Observer
    from PIL.Image import Image

    from milimo_image.models import ImageModels
    from milimo_image.plan import ImagePlan
    from milimo_image.prompts import PromptCache
    from milimo_image.request import ImageRequest


@dataclass(frozen=True, kw_only=True, eq=False)
class GeneratedImage:
    """Image `index` of a batch, of exactly the size that was asked for."""

    index: int
    seed: int
    image: Image
    metadata: ImageMetadata


def generate(
    models: ImageModels,
    request: ImageRequest,
    plan: ImagePlan,
    observer: Observer,
    *,
    prompts: PromptCache,
    first: int = 0,
) -> Iterator[GeneratedImage]:
    """Makes the images of the plan one after the other, beginning with image `first`, each as it is taken.

    One at a time, so that memory does not grow with the batch, each can be kept as soon as it is there, and each is the
    same image that its seed alone gives. The transformer runs `plan.steps · plan.forwards_per_step` times for each.
    What the observer raises ends the work; nothing is decoded then. The plan's notices are the caller's to tell; that
    the prompt is too long shows only here, and is told with image 0. Raises `Unimplemented` before any work for what
    this engine cannot do yet.
    """
    if request.references:
        raise Unimplemented("generating from reference images")
    if request.inpaint is not None:
        raise Unimplemented("inpainting")
    if plan.cfg_scale > 1.0:
        raise Unimplemented("true CFG")
    return _generate(models, request, plan, observer, prompts=prompts, first=first)


def _generate(
    models: ImageModels, request: ImageRequest, plan: ImagePlan, observer: Observer, *, prompts: PromptCache, first: int
) -> Iterator[GeneratedImage]:
    observer.begin(ENCODE_PROMPT, 1)
    prompt = embed_prompt(models, request.prompt, prompts)
    # Each image of a batch may be a call of its own, with the same prompt: the first one tells.
    if prompt.is_truncated and first == 0:
        observer.notice(
            "PROMPT_TRUNCATED",
            f"the prompt has {prompt.tokens} tokens; the text encoder read the first {prompt.states.shape[1]}",
        )
    guidance = None
    if plan.guidance > 1.0:
        guidance = Guidance(negative=embed_prompt(models, "", prompts).states, scale=plan.guidance)
    observer.advance()

    count = len(plan.seeds)
    for index in range(first, count):
        latents = _latents(models, plan, plan.seeds[index], prompt.states, guidance, observer, index)
        observer.begin(decode_stage(index, count), 1)
        image = decode_image_latents(models, latents, width=plan.width, height=plan.height)
        observer.advance()
        yield GeneratedImage(
            index=index, seed=plan.seeds[index], image=image, metadata=_metadata(request, plan, plan.seeds[index])
        )


def _latents(
    models: ImageModels,
    plan: ImagePlan,
    seed: int,
    prompt: torch.Tensor,
    guidance: Guidance | None,
    observer: Observer,
    index: int,
) -> torch.Tensor:
    def on_step(estimate: torch.Tensor) -> None:
        observer.preview(partial(preview_image, models, estimate))
        observer.advance()

    observer.begin(denoise_stage(index, len(plan.seeds)), plan.steps)
    noise = initial_noise(
        seed=seed,
        channels=models.transformer.config.in_channels,
        rows=plan.model_height // defaults.SIDE_MULTIPLE,
        columns=plan.model_width // defaults.SIDE_MULTIPLE,
        dtype=models.transformer.dtype,
    )
    return denoise(models, noise, prompt, steps=plan.steps, guidance=guidance, on_step=on_step)


def _metadata(request: ImageRequest, plan: ImagePlan, seed: int) -> ImageMetadata:
    return ImageMetadata(
        prompt=request.prompt,
        parameters={
            "seed": seed,
            "width": plan.width,
            "height": plan.height,
            "steps": plan.steps,
            "guidance": plan.guidance,
        },
    )
