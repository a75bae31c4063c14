"""Latents of FLUX.2: noise, tokens and their positions, and the way back to what the autoencoder decodes.

A token is a patch of 2 × 2 latents, so it stands for 16 × 16 pixels; its channels are those of the four latents. The
transformer works on normalised tokens; the autoencoder's batch norm holds the statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from milimo_image import defaults

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffusers import AutoencoderKLFlux2


def initial_noise(*, seed: int, channels: int, rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
    """Noise for a grid of tokens, (1, channels, rows, columns), drawn on the CPU: the same on every device."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn((1, channels, rows, columns), generator=generator, dtype=dtype)


def to_tokens(grid: torch.Tensor) -> torch.Tensor:
    """(B, C, rows, columns) → (B, rows · columns, C), row by row."""
    return grid.flatten(2).transpose(1, 2)


def to_grid(tokens: torch.Tensor, *, rows: int, columns: int) -> torch.Tensor:
    """(B, rows · columns, C) → (B, C, rows, columns)."""
    batch, _, channels = tokens.shape
    return tokens.transpose(1, 2).reshape(batch, channels, rows, columns)


def image_positions(*, rows: int, columns: int, time: int = 0) -> torch.Tensor:
    """Positions (time, row, column, 0) of the tokens of a grid, (1, rows · columns, 4). The target has the time 0."""
    return torch.cartesian_prod(
        torch.tensor([time]), torch.arange(rows), torch.arange(columns), torch.arange(1)
    ).unsqueeze(0)


def reference_positions(sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Positions of the tokens of references, of (rows, columns) tokens each, one after the other, (1, tokens, 4).

    Reference i stands at the time 10 + 10 · i.
    """
    step = defaults.REFERENCE_TIME_STEP
    return torch.cat(
        [
            image_positions(rows=rows, columns=columns, time=step + step * index)
            for index, (rows, columns) in enumerate(sizes)
        ],
        dim=1,
    )


def text_positions(length: int) -> torch.Tensor:
    """Positions (0, 0, 0, index) of the tokens of a text, (1, length, 4)."""
    return torch.cartesian_prod(torch.arange(1), torch.arange(1), torch.arange(1), torch.arange(length)).unsqueeze(0)


def normalise(latents: torch.Tensor, vae: AutoencoderKLFlux2) -> torch.Tensor:
    """Latents (B, C, 2 · rows, 2 · columns) as the encoder gives them → normalised tokens (B, 4 C, rows, columns)."""
    batch, channels, height, width = latents.shape
    patches = latents.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
    patches = patches.reshape(batch, 4 * channels, height // 2, width // 2)
    mean, deviation = _statistics(vae, patches)
    return (patches - mean) / deviation


def denormalise(grid: torch.Tensor, vae: AutoencoderKLFlux2) -> torch.Tensor:
    """Normalised tokens (B, 4 C, rows, columns) → latents (B, C, 2 · rows, 2 · columns) as the decoder expects them."""
    mean, deviation = _statistics(vae, grid)
    patches = grid * deviation + mean
    batch, channels, rows, columns = patches.shape
    patches = patches.reshape(batch, channels // 4, 2, 2, rows, columns)
    return patches.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels // 4, 2 * rows, 2 * columns)


def _statistics(vae: AutoencoderKLFlux2, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the channels of a token, where and as `like` is, (1, 4 C, 1, 1)."""
    mean = vae.bn.running_mean.view(1, -1, 1, 1)
    deviation = torch.sqrt(vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps)
    return mean.to(like.device, like.dtype), deviation.to(like.device, like.dtype)
