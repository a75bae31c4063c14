"""Inpainting after RePaint: at each step, what the mask leaves alone is put back at that step's noise.

The image itself is the first reference. Only pixels under the mask are taken from the result; all others are those of
the image that came in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from milimo_image.canvas import canvas_mask, grown
from milimo_image.decode import decode_image_latents
from milimo_image.denoise import Repaint
from milimo_image.engine import (
    Caches,
    GeneratedImage,
    denoise_noise,
    image_metadata,
    prepare_prompt,
)
from milimo_image.mask import bounds, softened, token_mask
from milimo_image.plan import decode_stage
from milimo_image.references import encode_references, reference_tokens
from milimo_image.region import region_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milimo_runtime.observer import Observer

    from milimo_image.mask import Mask
    from milimo_image.models import ImageModels
    from milimo_image.plan import ImagePlan
    from milimo_image.region import Region
    from milimo_image.request import ImageRequest


def inpaint(
    models: ImageModels,
    request: ImageRequest,
    plan: ImagePlan,
    observer: Observer,
    *,
    image: Image.Image,
    mask: Image.Image | None,
    caches: Caches,
    references: Sequence[Image.Image] = (),
) -> GeneratedImage:
    """`image`, RGB, with what is white in `mask`, of mode "L", and what its canvas grows by painted anew.

    An empty mask changes nothing: a notice says so, and no model runs. `references` follow the image itself, as
    `fit_reference` made them. What the observer raises ends the work. Raises `ModelMissing`.
    """
    options = request.inpaint
    if options is None:
        raise ValueError("the request is not one to inpaint")
    seed = plan.seeds[0]
    metadata = image_metadata(request, plan, seed)
    masked = canvas_mask(mask, image.size, options.outpaint)
    image = grown(image, options.outpaint)
    found = bounds(masked)
    if found is None:
        observer.notice("MASK_EMPTY", "nothing is white in the mask: the image stays as it is")
        return GeneratedImage(index=0, seed=seed, image=image, metadata=metadata)
    region = region_of(image.size, found, options.crop_padding)
    models.autoencoders.select(plan.autoencoder)
    prompt, guidance = prepare_prompt(models, request, plan, observer, caches.prompts, tells=True)

    part = image.crop(region.box)
    part_mask = masked[region.top : region.bottom, region.left : region.right]
    encoded = encode_references(models, plan, references, caches.references, observer, source=_filled(part, region))
    latents = encoded.latents
    repaint = Repaint(
        original=latents[0],
        mask=torch.from_numpy(token_mask(_filled_mask(part_mask, region)))[None, None],
        skipped=plan.skipped_steps,
    )
    made = denoise_noise(
        models,
        plan,
        seed,
        encoded.beside(prompt.states),
        guidance,
        reference_tokens(latents),
        observer,
        0,
        rows=latents[0].shape[2],
        columns=latents[0].shape[3],
        repaint=repaint,
    )
    observer.begin(decode_stage(0, 1), 1)
    width, height = region.model
    painted = decode_image_latents(models, made, width=width, height=height).crop((0, 0, *region.scaled))
    if painted.size != region.size:
        painted = painted.resize(region.size, Image.Resampling.LANCZOS)
    result = image.copy()
    share = softened(masked, options.feather)[region.top : region.bottom, region.left : region.right]
    # Where the share is 0 nothing changes, bit for bit.
    result.paste(painted, region.box, Image.fromarray(share))
    observer.advance()
    return GeneratedImage(index=0, seed=seed, image=result, metadata=metadata)


def _filled(part: Image.Image, region: Region) -> Image.Image:
    """The part at its size inside the model; its last row and column go on to the multiple of 16."""
    if part.size != region.scaled:
        part = part.resize(region.scaled, Image.Resampling.LANCZOS)
    if region.scaled == region.model:
        return part
    (width, height), (model_width, model_height) = region.scaled, region.model
    return Image.fromarray(
        np.pad(np.asarray(part), ((0, model_height - height), (0, model_width - width), (0, 0)), mode="edge")
    )


def _filled_mask(mask: Mask, region: Region) -> Mask:
    if region.size != region.scaled:
        # Whatever has a share of the mask: thin lines do not get lost.
        small = Image.fromarray(mask.astype(np.uint8) * 255).resize(region.scaled, Image.Resampling.BOX)
        mask = np.asarray(small) > 0
    (width, height), (model_width, model_height) = region.scaled, region.model
    return np.pad(mask, ((0, model_height - height), (0, model_width - width)), mode="edge")
