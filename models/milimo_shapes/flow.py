"""Rectified flow as the pipelines' scheduler runs it: x_σ = (1 − σ) x₀ + σ ε, and the model says v = ε − x₀."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

# The timestep that the pipelines pass is 1000 σ.
TIMESTEPS: Final = 1000.0


def draw_levels(count: int, schedule: Sequence[float], *, scheduled: float, low: float, high: float) -> torch.Tensor:
    """Noise levels [count] in (0, 1]: with probability `scheduled` one of the schedule's, else any in [low, high].

    Few steps visit few levels, so that these are worth most. The levels of one call are spread evenly.
    """
    spread = (torch.arange(count) + torch.rand(count)) / count
    anywhere = low + (high - low) * spread
    steps = torch.tensor(list(schedule))
    named = steps[(spread * len(steps)).long().clamp(max=len(steps) - 1)]
    chosen = torch.where(torch.rand(count) < scheduled, named, anywhere)
    return chosen[torch.randperm(count)]


def add_noise(clean: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """x_σ of each of the batch: `clean` and `noise` [B, …], `levels` [B]."""
    sigma = levels.view(-1, *[1] * (clean.ndim - 1))
    return (1.0 - sigma) * clean + sigma * noise


def velocity(noisy: torch.Tensor, clean: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """What leads from `noisy` at σ straight to `clean` at 0: (x_σ − x₀) / σ. It is ε − x₀ where x_σ was made of x₀."""
    sigma = levels.view(-1, *[1] * (clean.ndim - 1))
    return (noisy - clean) / sigma


def weight_of(levels: torch.Tensor, spread: float) -> torch.Tensor:
    """How much a squared error of the velocity counts at each level, for clean latents of that standard deviation.

    Latents of 1 have as much noise in them at σ / (σ + spread · (1 − σ)), and an error of them counts as much there.
    Without it the levels of almost pure noise, where little can be known, would drown the others.
    """
    return ((levels + spread * (1.0 - levels)) / spread).square()
