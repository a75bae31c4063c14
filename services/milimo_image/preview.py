"""Small previews of an image that is still being denoised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from milimo_image import defaults
from milimo_image.decode import decode_latents
from milimo_image.latents import denormalise

if TYPE_CHECKING:
    from PIL.Image import Image

    from milimo_image.models import ImageModels


@torch.inference_mode()
def preview_image(models: ImageModels, latents: torch.Tensor) -> Image:
    """A preview of normalised latents, at most 256 pixels a side: averaged to a coarser grid, then decoded.

    The decoder's cost falls with the area, so this takes a small part of a step. To be called while the models are
    where they were when the latents were made.
    """
    full = denormalise(latents, models.vae).to(models.vae.device)
    rows, columns = full.shape[-2:]
    pixels_per_latent = defaults.SIDE_MULTIPLE // 2
    scale = min(1.0, defaults.PREVIEW_SIDE / (pixels_per_latent * max(rows, columns)))
    coarse = torch.nn.functional.adaptive_avg_pool2d(
        full.float(), (max(1, round(rows * scale)), max(1, round(columns * scale)))
    )
    return decode_latents(models, coarse, tiled=False)
