"""Requests on the tiny checkpoint, pictures, and diffusers' pipeline beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from milimo_image.engine import Caches, generate
from milimo_image.plan import plan_image
from milimo_image.prompts import prompt_cache
from milimo_image.reference_size import reference_pixels
from milimo_image.references import fit_reference, reference_cache
from milimo_image.request import ImageRequest, Reference
from milimo_runtime.observer import Silent
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from milimo_image.models import ImageModels

PROMPT = "a red circle on the left"


def empty_caches() -> Caches:
    """Nothing is known yet."""
    return Caches(prompts=prompt_cache(), references=reference_cache())


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise: every pixel counts."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def run(
    models: ImageModels,
    references: Sequence[Image.Image] = (),
    *,
    caches: Caches | None = None,
    observer: Silent | None = None,
    **fields: Any,
) -> Image.Image:
    """One image of 128 × 96 pixels in two steps, unless the fields say otherwise."""
    request = ImageRequest(
        **{
            "prompt": PROMPT,
            "width": 128,
            "height": 96,
            "seed": 5,
            "steps": 2,
            "references": tuple(
                Reference(asset_id=f"asset-{index}", width=image.width, height=image.height)
                for index, image in enumerate(references)
            ),
            **fields,
        }
    )
    plan = plan_image(
        request, is_distilled=models.is_distilled, random_seed=0, ip_adapter=models.ip_adapter is not None
    )
    most = reference_pixels(len(references), models.devices)
    made = generate(
        models,
        request,
        plan,
        observer or Silent(),
        caches=caches or empty_caches(),
        references=[fit_reference(image, max_pixels=most) for image in references],
    )
    return next(made).image


def pipeline_image(root: Path, *, guided: bool = False, **fields: Any) -> Image.Image:
    """The same image by diffusers' pipeline. `guided`: as a checkpoint that is not distilled."""
    from diffusers import Flux2KleinPipeline

    pipeline = Flux2KleinPipeline.from_pretrained(root, is_distilled=not guided)
    pipeline.set_progress_bar_config(disable=True)
    negative = fields.pop("negative_prompt", None)
    if negative is not None:
        embeds, _ = pipeline.encode_prompt(negative, text_encoder_out_layers=(1, 2, 3))
        fields["negative_prompt_embeds"] = embeds
    image: Image.Image = pipeline(
        **{
            "prompt": PROMPT,
            "width": 128,
            "height": 96,
            "num_inference_steps": 2,
            "guidance_scale": 1.0,
            "generator": torch.Generator().manual_seed(5),
            "text_encoder_out_layers": (1, 2, 3),
            **fields,
        }
    ).images[0]
    return image
