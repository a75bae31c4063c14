"""From normalised latents to images of the size that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from milimo_image import defaults
from milimo_image.latents import denormalise

if TYPE_CHECKING:
    from PIL.Image import Image

    from milimo_image.models import ImageModels


@torch.inference_mode()
def decode_image_latents(models: ImageModels, latents: torch.Tensor, *, width: int, height: int) -> Image:
    """Decodes normalised latents, (1, C, rows, columns), and crops the middle `width` × `height` pixels of 16 rows · 16
    columns. Images above 4 megapixels are decoded in overlapping tiles.
    """
    _, _, rows, columns = latents.shape
    full_width, full_height = columns * defaults.SIDE_MULTIPLE, rows * defaults.SIDE_MULTIPLE
    image = decode_latents(
        models, denormalise(latents, models.vae), tiled=full_width * full_height > defaults.TILED_DECODE_ABOVE_PIXELS
    )
    if image.size == (width, height):
        return image
    left, top = (full_width - width) // 2, (full_height - height) // 2
    return image.crop((left, top, left + width, top + height))


@torch.inference_mode()
def decode_latents(models: ImageModels, latents: torch.Tensor, *, tiled: bool) -> Image:
    """Decodes latents, (1, C, rows, columns), into an image of 8 rows · 8 columns pixels."""
    from diffusers.image_processor import VaeImageProcessor

    vae = models.vae
    vae.use_tiling = tiled
    pixels = vae.decode(latents.to(vae.device, vae.dtype), return_dict=False)[0]
    images: list[Image] = VaeImageProcessor(vae_scale_factor=defaults.SIDE_MULTIPLE).postprocess(
        pixels, output_type="pil"
    )
    return images[0]
