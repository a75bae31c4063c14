"""How autoencoders learn: to give back what is drawn, with weight on objects and their edges, and smooth latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
import torch.nn.functional as nnf
from PIL import Image

from milimo_shapes.batches import Batch, Form, draw_batch
from milimo_shapes.judge import look
from milimo_shapes.still_convolution import speed_up_stills
from milimo_shapes.video_autoencoder import SPREAD, build_video_autoencoder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from milimo_shapes.arrays import Bytes
    from milimo_shapes.scene import Scene

# The seed of scenes that no training draws; trainings' own seeds are smaller.
HELD_OUT: Final = 2**31
_STATISTICS: Final = 2**31 + 1
# From that part of the steps on, more large clips.
_MANY_LARGE: Final = 0.6
_OBJECT_WEIGHT: Final = 2.0
_EDGE_WEIGHT: Final = 3.0
_PASSED_WEIGHT: Final = 4.0
_SIZE_WEIGHT: Final = 1e-4
_SLOPE_WEIGHT: Final = 0.3
_SQUARE_WEIGHT: Final = 3.0


@dataclass(frozen=True, kw_only=True)
class VideoAutoencoder:
    """Trains LTX-2's video autoencoder: pictures first, then short clips among them."""

    name: str = "video-autoencoder"
    steps: int = 4500
    learning_rate: float = 7e-4
    muon: str | None = None
    evaluate_every: int = 500

    def build(self) -> torch.nn.Module:
        model = build_video_autoencoder()
        speed_up_stills(model)
        assert isinstance(model, torch.nn.Module)
        return model

    def losses(self, model: Any, seed: int, step: int, device: torch.device) -> dict[str, torch.Tensor]:
        batch = draw_batch(seed, step, self._form(step)).to(device)
        posterior = model.encode(batch.pixels).latent_dist
        # The variance stays as it was built: learned, it grows until the decoder no longer listens.
        latents = posterior.mean + posterior.std.detach() * torch.randn_like(posterior.mean)
        restored = model.decode(latents, return_dict=False)[0]
        return reconstruction_losses(batch, restored, posterior.mean)

    def evaluate(self, model: Any, device: torch.device, pictures: Path) -> dict[str, float]:
        pictures.mkdir(parents=True, exist_ok=True)
        figures = {}
        for form in (
            Form(clips=24, frames=1, width=256, height=128),
            Form(clips=4, frames=17, width=128, height=64),
            Form(clips=4, frames=17, width=256, height=128),
        ):
            batch = draw_batch(HELD_OUT, form.frames, form).to(device)
            latents = model.encode(batch.pixels).latent_dist.mode()
            restored = model.decode(latents, return_dict=False)[0].clamp(-1.0, 1.0)
            name = f"{form.frames}x{form.width}x{form.height}"
            figures[f"psnr_{name}"] = psnr(batch.pixels, restored)
            figures[f"judged_{name}"] = judged_right(batch.scenes, restored[:, :, -1])
            figures["latent_std"] = float(latents.std())
            contact_sheet([batch.pixels[:8, :, -1], restored[:8, :, -1]], pictures / f"{name}.png")
        return figures

    def save(self, model: Any, folder: Path) -> None:
        """With what normalises latents to a standard deviation of `SPREAD`, over pictures and clips of both sizes."""
        values = []
        device = next(model.parameters()).device
        for form in (
            Form(clips=24, frames=1, width=256, height=128),
            Form(clips=24, frames=1, width=128, height=64),
            Form(clips=6, frames=33, width=128, height=64),
            Form(clips=2, frames=33, width=256, height=128),
        ):
            with torch.no_grad():
                pixels = draw_batch(_STATISTICS, form.frames, form).pixels.to(device)
                values.append(model.encode(pixels).latent_dist.mode().transpose(0, 1).flatten(1))
        latents = torch.cat(values, dim=1)
        model.latents_mean.copy_(latents.mean(dim=1))
        model.latents_std.copy_(latents.std(dim=1) / SPREAD)
        model.save_pretrained(folder / "vae")

    def _form(self, step: int) -> Form:
        """Pictures for 600 steps, then mostly clips: of every six batches a large one, towards the end two."""
        if step < 600 or step % 6 == 0:
            return Form(clips=8, frames=1, width=128, height=64)
        if step % 6 == 5 or (step % 6 == 2 and step > _MANY_LARGE * self.steps):
            return Form(clips=2, frames=9, width=256, height=128)
        if step % 2:
            return Form(clips=4, frames=9, width=128, height=64)
        return Form(clips=2, frames=17, width=128, height=64)


def reconstruction_losses(batch: Batch, restored: torch.Tensor, latents: torch.Tensor) -> dict[str, torch.Tensor]:
    """The weighted "l1" and "l2"; "slope", of differences between neighbouring pixels and frames; "size" of latents.

    "loss" is their weighted sum. `restored` is [B, 3, T, H, W] as the batch's pixels.
    """
    coverage = batch.coverage
    # Grey values between object and background, and their neighbours.
    edge = nnf.max_pool3d(coverage, (1, 3, 3), 1, (0, 1, 1)) + nnf.max_pool3d(-coverage, (1, 3, 3), 1, (0, 1, 1))
    # What an object leaves or reaches in the clip: without weight of its own, movement is learned last of all.
    passed = coverage.amax(dim=2, keepdim=True) - coverage.amin(dim=2, keepdim=True)
    weight = 1.0 + _OBJECT_WEIGHT * coverage + _EDGE_WEIGHT * edge + _PASSED_WEIGHT * passed
    error = restored - batch.pixels
    l1 = (weight * error.abs()).mean() / weight.mean()
    # Alone, the absolute error is content with the background: most pixels' median.
    l2 = (weight * error.square()).mean() / weight.mean()
    slope = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    if error.shape[2] > 1:
        slope = slope + (weight[:, :, 1:] * error.diff(dim=2).abs()).mean()
    # What of the Kullback-Leibler divergence from a normal distribution depends on the means.
    size = latents.square().mean() / 2
    loss = l1 + _SQUARE_WEIGHT * l2 + _SLOPE_WEIGHT * slope + _SIZE_WEIGHT * size
    return {"loss": loss, "l1": l1, "l2": l2, "slope": slope, "size": size}


def psnr(wanted: torch.Tensor, restored: torch.Tensor) -> float:
    """Peak signal to noise ratio in dB of pixels in [-1, 1], over all of them."""
    return float(10 * torch.log10(4.0 / torch.mean((wanted - restored) ** 2)))


def judged_right(scenes: Sequence[Scene], restored: torch.Tensor) -> float:
    """The share of the scenes' objects of which the judge says the right colour and shape, of [B, 3, H, W] in [-1, 1].

    It says so of nearly all in pictures as drawn.
    """
    objects = right = 0
    for scene, picture in zip(scenes, _to_bytes(restored), strict=True):
        seen = {each.colour: each.shape for each in look(picture)}
        objects += len(scene.things)
        right += sum(seen.get(thing.colour) is thing.shape for thing in scene.things)
    return right / objects


def contact_sheet(rows: Sequence[torch.Tensor], path: Path) -> None:
    """Writes pictures [B, 3, H, W] in [-1, 1], one row of B for each of `rows`."""
    sheet = torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2)
    Image.fromarray(_to_bytes(sheet[None])[0]).save(path)


def _to_bytes(pictures: torch.Tensor) -> Bytes:
    """[B, 3, H, W] in [-1, 1] → [B, H, W, 3] of RGB bytes."""
    pixels = ((pictures.permute(0, 2, 3, 1) + 1.0) * 127.5).round().clamp(0, 255)
    return pixels.cpu().numpy().astype(np.uint8)
