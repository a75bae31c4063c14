"""Small pictures of a video that is still being denoised, without decoding it.

A linear map from a latent to the mean colour of its pixels is fitted once per autoencoder, to pictures of two colours
that the autoencoder itself encodes: no table of factors that belongs to one set of weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as nnf
from PIL import Image

_LONG_SIDE = 256
# What the map is fitted to: so many pictures, of so many latents along a side.
_PICTURES = 64
_CELLS = 4
# Keeps the fit small in directions that these pictures do not show.
_RIDGE = 1e-2


@dataclass(frozen=True, kw_only=True)
class ColourMap:
    """Colour = latent · `weight` + `bias`: normalised latents [..., 128] to RGB in [-1, 1]."""

    weight: torch.Tensor
    bias: torch.Tensor


@torch.no_grad()
def fit_colour_map(vae: Any) -> ColourMap:
    """Fits the map for an AutoencoderKLLTX2Video by ridge regression, over all latents of a few pictures."""
    pixels = _two_colours(_CELLS * vae.spatial_compression_ratio)
    colours = nnf.avg_pool2d(pixels, vae.spatial_compression_ratio).movedim(1, -1).reshape(-1, 3)
    encoded = [vae.encode(each[None, :, None].to(vae.device, vae.dtype)).latent_dist.mode() for each in pixels]
    latents = torch.cat(encoded)[:, :, 0].float().cpu().movedim(1, -1).flatten(0, 2)
    latents = (latents - vae.latents_mean.float().cpu()) / vae.latents_std.float().cpu()
    centre, mean_colour = latents.mean(dim=0), colours.mean(dim=0)
    offsets = latents - centre
    gram = offsets.T @ offsets
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean() + torch.finfo(torch.float32).tiny)
    weight = torch.linalg.solve(gram, offsets.T @ (colours - mean_colour))
    return ColourMap(weight=weight, bias=mean_colour - centre @ weight)


def _two_colours(side: int) -> torch.Tensor:
    """Square pictures [n, 3, side, side] in [-1, 1], each of two colours on the sides of a line; always the same."""
    random = torch.Generator().manual_seed(0)
    colours = 2.0 * torch.rand(_PICTURES, 2, 3, 1, 1, generator=random) - 1.0
    angles = 2.0 * torch.pi * torch.rand(_PICTURES, 1, 1, generator=random)
    offsets = side / 2 * (torch.rand(_PICTURES, 1, 1, generator=random) - 0.5)
    places = torch.arange(side) + 0.5 - side / 2
    is_beyond = angles.cos() * places + angles.sin() * places[:, None] > offsets
    return torch.where(is_beyond[:, None], colours[:, 0], colours[:, 1])


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
