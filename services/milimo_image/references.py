"""Reference images: fitted to what the model takes, encoded, and laid beside the tokens of the image that is made.

For references that diffusers' pipeline admits, sizes, latents and positions are the same as there; a test holds them to
it. A single one may have more pixels here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from milimo_runtime.errors import ModelMissing
from milimo_runtime.lru import ByteBoundedCache
from PIL.Image import Resampling

from milimo_image import defaults
from milimo_image.ip_adapter import clip_pixels
from milimo_image.latents import normalise, reference_positions, to_tokens
from milimo_image.plan import ENCODE_REFERENCES
from milimo_image.reference_size import cropped_size, scaled_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milimo_runtime.observer import Observer
    from PIL.Image import Image

    from milimo_image.ip_adapter import IpAdapter
    from milimo_image.models import ImageModels
    from milimo_image.plan import ImagePlan

# Keyed by what encoded them and the digest of the pixels, in host memory: normalised latents, (1, C, rows, columns), or
# the IP-Adapter's tokens, (1, tokens, joint width).
ReferenceCache = ByteBoundedCache[tuple[str, str], torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceTokens:
    """References as the transformer reads them, after the tokens of the image: (1, n, C), and (1, n, 4)."""

    tokens: torch.Tensor
    positions: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedReferences:
    """References by what they act through: latents, (1, C, rows, columns) each, and tokens of the IP-Adapter."""

    latents: Sequence[torch.Tensor]
    adapter_tokens: torch.Tensor | None  # (1, n, joint width)

    def beside(self, prompt: torch.Tensor) -> torch.Tensor:
        """The embedded prompt, (1, tokens, joint width), with the IP-Adapter's tokens after it."""
        if self.adapter_tokens is None:
            return prompt
        return torch.cat([prompt, self.adapter_tokens.to(prompt.dtype)], dim=1)


def reference_cache(max_bytes: int = defaults.REFERENCE_CACHE_BYTES) -> ReferenceCache:
    """An empty cache of latents, bounded by their bytes."""
    return ByteBoundedCache(max_bytes=max_bytes, size_of=lambda latents: latents.nbytes)


def fit_reference(image: Image, *, max_pixels: int) -> Image:
    """The RGB image, scaled down to `max_pixels`, and the middle of it that has sides of multiples of 16."""
    scaled = scaled_size(*image.size, max_pixels)
    if scaled != image.size:
        image = image.resize(scaled, Resampling.LANCZOS)
    width, height = cropped_size(*image.size)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def encode_image(models: ImageModels, image: Image, cache: ReferenceCache) -> torch.Tensor:
    """Normalised latents, (1, C, rows, columns), of an RGB image whose sides are multiples of 16.

    From the cache when the same pixels were encoded before by the same autoencoder. Raises `ValueError` for others.
    """
    if cropped_size(*image.size) != image.size:
        raise ValueError(f"an image of {image.width} × {image.height} has no sides of multiples of 16")
    return cache.get_or_compute((models.vae_fingerprint, _digest(image)), lambda: _encode(models, image))


def adapter_tokens(models: ImageModels, image: Image, cache: ReferenceCache) -> torch.Tensor:
    """Tokens that the IP-Adapter makes of an RGB image, (1, tokens, joint width), in host memory.

    From the cache when the same pixels were seen before. Raises ModelMissing when the adapter was not loaded.
    """
    adapter = models.ip_adapter
    if adapter is None:
        raise ModelMissing("the IP-Adapter is not loaded; `milimo models verify` shows what is missing or damaged")
    return cache.get_or_compute(("ip-adapter", _digest(image)), lambda: _adapted(adapter, image))


def reference_tokens(latents: Sequence[torch.Tensor]) -> ReferenceTokens | None:
    """References by their normalised latents, (1, C, rows, columns) each; `None` when there are none."""
    if not latents:
        return None
    return ReferenceTokens(
        tokens=torch.cat([to_tokens(grid) for grid in latents], dim=1),
        positions=reference_positions([(grid.shape[2], grid.shape[3]) for grid in latents]),
    )


def encode_references(
    models: ImageModels,
    plan: ImagePlan,
    images: Sequence[Image],
    cache: ReferenceCache,
    observer: Observer,
    *,
    source: Image | None = None,
) -> EncodedReferences:
    """References as the plan uses them, made by `fit_reference`; before them, as latents, the image to inpaint.

    Raises ModelMissing when the plan uses an IP-Adapter that was not loaded.
    """
    count = len(images) + (source is not None)
    if not count:
        return EncodedReferences(latents=(), adapter_tokens=None)
    observer.begin(ENCODE_REFERENCES, count)
    latents, adapted = [], []
    if source is not None:
        latents.append(encode_image(models, source, cache))
        observer.advance()
    for image in images:
        if plan.reference_tokens:
            latents.append(encode_image(models, image, cache))
        if plan.ip_adapter:
            adapted.append(adapter_tokens(models, image, cache))
        observer.advance()
    return EncodedReferences(latents=tuple(latents), adapter_tokens=torch.cat(adapted, dim=1) if adapted else None)


def _digest(image: Image) -> str:
    """Of its pixels."""
    return hashlib.sha256(f"{image.mode}:{image.width}x{image.height};".encode() + image.tobytes()).hexdigest()


@torch.inference_mode()
def _adapted(adapter: IpAdapter, image: Image) -> torch.Tensor:
    weight = adapter.projection.weight
    tokens: torch.Tensor = adapter(clip_pixels(image, adapter.image_side).to(weight.device, weight.dtype))
    return tokens.cpu()


@torch.inference_mode()
def _encode(models: ImageModels, image: Image) -> torch.Tensor:
    vae = models.vae
    # A large image that was decoded before has left it on tiles.
    vae.use_tiling = False
    # −1 to 1, (1, 3, height, width).
    pixels = torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32)[None] / 255.0).permute(0, 3, 1, 2)
    pixels = (2.0 * pixels - 1.0).to(vae.device, vae.dtype)
    latents = vae.encode(pixels).latent_dist.mode()
    return normalise(latents, vae).cpu()
