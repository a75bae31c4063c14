"""Text and references to image: a request and its plan become images, with progress after each step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from milimo_image import defaults
from milimo_image.decode import decode_image_latents
from milimo_image.denoise import Guidance, denoise
from milimo_image.latents import initial_noise
from milimo_image.output import ImageMetadata
from milimo_image.plan import ENCODE_PROMPT, decode_stage, denoise_stage
from milimo_image.preview import preview_image
from milimo_image.prompts import embed_prompt
from milimo_image.references import encode_references, reference_tokens
from milimo_image.request import ReferenceMode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch
    from milimo_runtime.observer import Observer
    from PIL.Image import Image

    from milimo_image.denoise import Repaint
    from milimo_image.models import ImageModels
    from milimo_image.plan import ImagePlan
    from milimo_image.prompts import PromptCache, PromptEmbedding
    from milimo_image.references import ReferenceCache, ReferenceTokens
    from milimo_image.request import ImageRequest, Inpaint


@dataclass(frozen=True, kw_only=True, eq=False)
class GeneratedImage:
    """Image `index` of a batch, of exactly the size that was asked for."""

    index: int
    seed: int
    image: Image
    metadata: ImageMetadata


@dataclass(frozen=True, kw_only=True, eq=False)
class Caches:
    """What is kept between images, by content."""

    prompts: PromptCache
    references: ReferenceCache


def generate(
    models: ImageModels,
    request: ImageRequest,
    plan: ImagePlan,
    observer: Observer,
    *,
    caches: Caches,
    references: Sequence[Image] = (),
    first: int = 0,
) -> Iterator[GeneratedImage]:
    """Makes the images of the plan one after the other, beginning with image `first`, each as it is taken.

    One at a time, so that memory does not grow with the batch, each can be kept as soon as it is there, and each is the
    same image that its seed alone gives. The transformer runs `plan.steps · plan.forwards_per_step` times for each.
    `references` are those of the request, as `fit_reference` made them. What the observer raises ends the work; nothing
    is decoded then. The plan's notices are the caller's to tell; that the prompt is too long shows only here, and is
    told with image 0. Raises `ModelMissing` when the plan's autoencoder cannot be loaded.
    """
    models.autoencoders.select(plan.autoencoder)
    prompt, guidance = prepare_prompt(models, request, plan, observer, caches.prompts, tells=first == 0)
    encoded = encode_references(models, plan, references, caches.references, observer)

    count = len(plan.seeds)
    for index in range(first, count):
        latents = denoise_noise(
            models,
            plan,
            plan.seeds[index],
            encoded.beside(prompt.states),
            guidance,
            reference_tokens(encoded.latents),
            observer,
            index,
            rows=plan.model_height // defaults.SIDE_MULTIPLE,
            columns=plan.model_width // defaults.SIDE_MULTIPLE,
        )
        observer.begin(decode_stage(index, count), 1)
        image = decode_image_latents(models, latents, width=plan.width, height=plan.height)
        observer.advance()
        yield GeneratedImage(
            index=index, seed=plan.seeds[index], image=image, metadata=image_metadata(request, plan, plan.seeds[index])
        )


def prepare_prompt(
    models: ImageModels,
    request: ImageRequest,
    plan: ImagePlan,
    observer: Observer,
    prompts: PromptCache,
    *,
    tells: bool,
) -> tuple[PromptEmbedding, Guidance | None]:
    """The embedded prompt and the second pass. With `tells`, a prompt that is too long gives a notice."""
    observer.begin(ENCODE_PROMPT, 1)
    prompt = embed_prompt(models, request.prompt, prompts)
    if prompt.is_truncated and tells:
        observer.notice(
            "PROMPT_TRUNCATED",
            f"the prompt has {prompt.tokens} tokens; the text encoder read the first {prompt.states.shape[1]}",
        )
    guidance = _guidance(models, request, plan, prompts)
    observer.advance()
    return prompt, guidance


def _guidance(models: ImageModels, request: ImageRequest, plan: ImagePlan, prompts: PromptCache) -> Guidance | None:
    """The second pass: against the negative prompt with true CFG, else against an empty one, as the base is guided."""
    if plan.cfg_scale > 1.0:
        negative = embed_prompt(models, request.negative_prompt, prompts)
        return Guidance(negative=negative.states, scale=plan.cfg_scale)
    if plan.guidance > 1.0:
        return Guidance(negative=embed_prompt(models, "", prompts).states, scale=plan.guidance)
    return None


def denoise_noise(
    models: ImageModels,
    plan: ImagePlan,
    seed: int,
    prompt: torch.Tensor,
    guidance: Guidance | None,
    references: ReferenceTokens | None,
    observer: Observer,
    index: int,
    *,
    rows: int,
    columns: int,
    repaint: Repaint | None = None,
) -> torch.Tensor:
    """Normalised latents, (1, C, rows, columns), of image `index`, out of the noise of its seed."""

    def on_step(estimate: torch.Tensor) -> None:
        observer.preview(partial(preview_image, models, estimate))
        observer.advance()

    observer.begin(denoise_stage(index, len(plan.seeds)), plan.steps - plan.skipped_steps)
    noise = initial_noise(
        seed=seed,
        channels=models.transformer.config.in_channels,
        rows=rows,
        columns=columns,
        dtype=models.transformer.dtype,
    )
    return denoise(
        models,
        noise,
        prompt,
        steps=plan.steps,
        guidance=guidance,
        references=references,
        repaint=repaint,
        on_step=on_step,
    )


def image_metadata(request: ImageRequest, plan: ImagePlan, seed: int) -> ImageMetadata:
    """What the file of that seed's image says of its making."""
    parameters: dict[str, str | int | float | bool] = {
        "seed": seed,
        "width": plan.width,
        "height": plan.height,
        "steps": plan.steps,
        "guidance": plan.guidance,
        "autoencoder": plan.autoencoder.value,
    }
    if plan.cfg_scale > 1.0:
        parameters |= {"cfg_scale": plan.cfg_scale, "negative_prompt": request.negative_prompt}
    if request.original_prompt:
        parameters["original_prompt"] = request.original_prompt
    if request.references:
        parameters["references"] = ",".join(reference.asset_id for reference in request.references)
        parameters["reference_mode"] = _mode(plan).value
    if request.inpaint is not None:
        parameters |= {
            "inpainted": request.inpaint.image.asset_id,
            **_mask_parameters(request.inpaint),
            "strength": request.inpaint.strength,
            "feather": request.inpaint.feather,
        }
        if request.inpaint.crop_padding is not None:
            parameters["crop_padding"] = request.inpaint.crop_padding
    return ImageMetadata(prompt=request.prompt, parameters=parameters)


def _mask_parameters(inpaint: Inpaint) -> dict[str, str]:
    """Where the mask came from, and by how much the canvas grew."""
    parameters = {}
    if inpaint.mask is not None:
        parameters["mask"] = inpaint.mask.asset_id
    prompt, grown = inpaint.mask_prompt, inpaint.outpaint
    if prompt is not None and prompt.text:
        parameters["mask_text"] = prompt.text
    elif prompt is not None:
        parameters["mask_points"] = " ".join(f"{each.x:g},{each.y:g},{each.positive:d}" for each in prompt.points)
        parameters["mask_boxes"] = " ".join(f"{box.x0:g},{box.y0:g},{box.x1:g},{box.y1:g}" for box in prompt.boxes)
    if not grown.is_empty:
        parameters["outpaint"] = f"{grown.left},{grown.top},{grown.right},{grown.bottom}"
    return parameters


def _mode(plan: ImagePlan) -> ReferenceMode:
    """How the plan's references act."""
    if plan.reference_tokens and plan.ip_adapter:
        return ReferenceMode.BOTH
    return ReferenceMode.IP_ADAPTER if plan.ip_adapter else ReferenceMode.TOKENS
