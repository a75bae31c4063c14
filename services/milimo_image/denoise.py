"""The denoising loop of FLUX.2 klein: rectified flow with Euler steps, with or without guidance.

The same arithmetic as diffusers' `Flux2KleinPipeline`, which a test holds it to, bit for bit. It is written out because
references larger than the pipeline admits, repainting and placements on several devices need a hand in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from milimo_image.latents import image_positions, text_positions, to_grid, to_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from milimo_image.models import ImageModels
    from milimo_image.references import ReferenceTokens


@dataclass(frozen=True, kw_only=True, eq=False)
class Guidance:
    """A second pass per step: prediction = negative + scale · (positive − negative)."""

    negative: torch.Tensor  # embedding of the negative prompt, (1, tokens, joint width)
    scale: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Repaint:
    """Only what the mask covers is made anew."""

    original: torch.Tensor  # normalised latents, (1, C, rows, columns)
    mask: torch.Tensor  # 1 where the image is made anew, 0 where it stays, (1, 1, rows, columns)
    skipped: int  # first steps that are left out: the fewer steps remain, the nearer the result is to the original


@torch.inference_mode()
def denoise(
    models: ImageModels,
    noise: torch.Tensor,
    prompt: torch.Tensor,
    *,
    steps: int,
    guidance: Guidance | None,
    references: ReferenceTokens | None = None,
    repaint: Repaint | None = None,
    on_step: Callable[[torch.Tensor], None],
) -> torch.Tensor:
    """Turns noise, (1, C, rows, columns), into normalised latents of the same shape, in `steps` steps.

    `prompt` is (1, tokens, joint width). `on_step` gets the estimate of the final latents after each step; what it
    raises ends the loop. The transformer runs exactly `steps` times less the skipped ones, twice that with guidance;
    references are before it in both passes.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    transformer = models.transformer
    device, dtype = transformer.device, transformer.dtype
    _, _, rows, columns = noise.shape
    tokens = to_tokens(noise).to(device, dtype)
    positions = image_positions(rows=rows, columns=columns)
    beside = None
    if references is not None:
        beside = references.tokens.to(device, dtype)
        positions = torch.cat([positions, references.positions], dim=1)
    positions = positions.to(device)

    # The scheduler counts its steps: each run has its own.
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(models.scheduler_config))
    sigmas = None if scheduler.config.get("use_flow_sigmas") else np.linspace(1.0, 1 / steps, steps)
    mu = compute_empirical_mu(image_seq_len=rows * columns, num_steps=steps)
    if sigmas is None:
        scheduler.set_timesteps(steps, device=device, mu=mu)
    else:
        scheduler.set_timesteps(sigmas=sigmas, device=device, mu=mu)
    skipped = 0 if repaint is None else repaint.skipped
    scheduler.set_begin_index(skipped)
    known = None
    if repaint is not None:
        known = _Known(repaint, tokens)
        tokens = known.at(scheduler.sigmas[skipped])

    def predict(embedding: torch.Tensor, timestep: torch.Tensor, cache_name: str) -> torch.Tensor:
        states = embedding.to(device, dtype)
        with transformer.cache_context(cache_name):
            prediction: torch.Tensor = transformer(
                hidden_states=tokens if beside is None else torch.cat([tokens, beside], dim=1),
                timestep=timestep / 1000,
                guidance=None,
                encoder_hidden_states=states,
                txt_ids=text_positions(states.shape[1]).to(device),
                img_ids=positions,
                return_dict=False,
            )[0]
        return prediction[:, : tokens.shape[1]]

    for index, time in enumerate(scheduler.timesteps[skipped:], start=skipped):
        timestep = time.expand(tokens.shape[0]).to(dtype)
        velocity = predict(prompt, timestep, "cond")
        if guidance is not None:
            negative = predict(guidance.negative, timestep, "uncond")
            velocity = negative + guidance.scale * (velocity - negative)
        # x_t = (1 − σ) · x_0 + σ · noise and velocity = noise − x_0, hence x_0 = x_t − σ · velocity.
        estimate = tokens - scheduler.sigmas[index].to(dtype) * velocity
        tokens = scheduler.step(velocity, time, tokens, return_dict=False)[0].to(dtype)
        if known is not None:
            tokens = known.keep(tokens, scheduler.sigmas[index + 1])
            estimate = known.keep(estimate, scheduler.sigmas[-1])
        _wait_for(device)
        on_step(to_grid(estimate, rows=rows, columns=columns))
    return to_grid(tokens, rows=rows, columns=columns)


class _Known:
    """The part of an image that stays, at any noise."""

    def __init__(self, repaint: Repaint, noise: torch.Tensor) -> None:
        self._noise = noise
        self._original = to_tokens(repaint.original).to(noise.device, noise.dtype)
        self._mask = to_tokens(repaint.mask).to(noise.device, noise.dtype)

    def at(self, sigma: torch.Tensor) -> torch.Tensor:
        """The original with that much noise."""
        level = sigma.to(self._noise.device, self._noise.dtype)
        return level * self._noise + (1.0 - level) * self._original

    def keep(self, tokens: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The tokens where the mask is, the original elsewhere."""
        return (1 - self._mask) * self.at(sigma) + self._mask * tokens


def _wait_for(device: torch.device) -> None:
    """Accelerators work ahead of the program: without waiting, progress would be told, and a cancel seen, too early."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
