"""Small pictures of a video that is still being denoised, without decoding it.

A linear map from a latent to the mean colour of its pixels is fitted once per autoencoder, to plain colours that the
autoencoder itself encodes: no table of factors that belongs to one set of weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from PIL import Image

_LONG_SIDE = 256
# Per channel, in the autoencoder's range.
_LEVELS = (-1.0, 0.0, 1.0)
# Keeps the fit small in directions that plain colours do not show.
_RIDGE = 1e-2


@dataclass(frozen=True, kw_only=True)
class ColourMap:
    """Colour = latent · `weight` + `bias`: normalised latents [..., 128] to RGB in [-1, 1]."""

    weight: torch.Tensor
    bias: torch.Tensor


@torch.no_grad()
def fit_colour_map(vae: Any) -> ColourMap:
    """Fits the map for an AutoencoderKLLTX2Video by ridge regression over 27 plain colours of 2 × 2 latents."""
    colours = torch.tensor(list(product(_LEVELS, repeat=3)))
    side = 2 * vae.spatial_compression_ratio
    pictures = colours[:, :, None, None, None].expand(-1, -1, 1, side, side).to(vae.device, vae.dtype)
    latents = vae.encode(pictures).latent_dist.mode().float().mean(dim=(2, 3, 4)).cpu()
    latents = (latents - vae.latents_mean.float().cpu()) / vae.latents_std.float().cpu()
    centre, mean_colour = latents.mean(dim=0), colours.mean(dim=0)
    offsets = latents - centre
    gram = offsets @ offsets.T
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean() + torch.finfo(torch.float32).tiny)
    weight = offsets.T @ torch.linalg.solve(gram, colours - mean_colour)
    return ColourMap(weight=weight, bias=mean_colour - centre @ weight)


@torch.no_grad()
def render_preview(tokens: torch.Tensor, *, frames: int, height: int, width: int, colours: ColourMap) -> Image.Image:
    """The middle latent frame as an RGB image whose longer side has 256 pixels.

    `tokens`: packed, normalised latents [1, frames · height · width (or more), 128]; what comes after is ignored.
    """
    area = height * width
    middle = frames // 2 * area
    latent = tokens[0, middle : middle + area].float().cpu()
    rgb = (latent @ colours.weight + colours.bias).mul_(127.5).add_(127.5).clamp_(0, 255).round_().to(torch.uint8)
    image = Image.fromarray(rgb.view(height, width, 3).numpy())
    scale = _LONG_SIDE / max(height, width)
    return image.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
