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


@dataclass(frozen=True, kw_only=True, eq=False)
class Guidance:
    """A second pass per step: prediction = negative + scale · (positive − negative)."""

    negative: torch.Tensor  # embedding of the negative prompt, (1, tokens, joint width)
    scale: float


@torch.inference_mode()
def denoise(
    models: ImageModels,
    noise: torch.Tensor,
    prompt: torch.Tensor,
    *,
    steps: int,
    guidance: Guidance | None,
    on_step: Callable[[torch.Tensor], None],
) -> torch.Tensor:
    """Turns noise, (1, C, rows, columns), into normalised latents of the same shape, in `steps` steps.

    `prompt` is (1, tokens, joint width). `on_step` gets the estimate of the final latents after each step; what it
    raises ends the loop. The transformer runs exactly `steps` times, twice that with guidance.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    transformer = models.transformer
    device, dtype = transformer.device, transformer.dtype
    _, _, rows, columns = noise.shape
    tokens = to_tokens(noise).to(device, dtype)
    positions = image_positions(rows=rows, columns=columns).to(device)

    # The scheduler counts its steps: each run has its own.
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(models.scheduler_config))
    sigmas = None if scheduler.config.get("use_flow_sigmas") else np.linspace(1.0, 1 / steps, steps)
    mu = compute_empirical_mu(image_seq_len=rows * columns, num_steps=steps)
    if sigmas is None:
        scheduler.set_timesteps(steps, device=device, mu=mu)
    else:
        scheduler.set_timesteps(sigmas=sigmas, device=device, mu=mu)
    scheduler.set_begin_index(0)

    def predict(embedding: torch.Tensor, timestep: torch.Tensor, cache_name: str) -> torch.Tensor:
        states = embedding.to(device, dtype)
        with transformer.cache_context(cache_name):
            prediction: torch.Tensor = transformer(
                hidden_states=tokens,
                timestep=timestep / 1000,
                guidance=None,
                encoder_hidden_states=states,
                txt_ids=text_positions(states.shape[1]).to(device),
                img_ids=positions,
                return_dict=False,
            )[0]
        return prediction

    for index, time in enumerate(scheduler.timesteps):
        timestep = time.expand(tokens.shape[0]).to(dtype)
        velocity = predict(prompt, timestep, "cond")
        if guidance is not None:
            negative = predict(guidance.negative, timestep, "uncond")
            velocity = negative + guidance.scale * (velocity - negative)
        # x_t = (1 − σ) · x_0 + σ · noise and velocity = noise − x_0, hence x_0 = x_t − σ · velocity.
        estimate = tokens - scheduler.sigmas[index].to(dtype) * velocity
        tokens = scheduler.step(velocity, time, tokens, return_dict=False)[0].to(dtype)
        _wait_for(device)
        on_step(to_grid(estimate, rows=rows, columns=columns))
    return to_grid(tokens, rows=rows, columns=columns)


def _wait_for(device: torch.device) -> None:
    """Accelerators work ahead of the program: without waiting, progress would be told, and a cancel seen, too early."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
