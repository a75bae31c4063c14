"""How FLUX.2's autoencoder learns the toy world's pictures: 8 × 8 pixels per latent, 16 × 16 per token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from milimo_runtime.vision_ops import prepare_torchvision

from milimo_shapes.autoencoder_training import HELD_OUT, contact_sheet, judged_right, psnr, reconstruction_losses
from milimo_shapes.batches import Form, draw_batch

if TYPE_CHECKING:
    from pathlib import Path

LATENT_CHANNELS: Final = 8
# Standard deviation of tokens as the transformer sees them: see `video_autoencoder`. With 1, the second of the four
# steps would see noise alone, and everything would be decided in the third.
SPREAD: Final = 2.0
_SIDE: Final = 128
# Of the latents while it learns, so that small differences between them do not matter.
_NOISE: Final = 0.05
_STATISTICS: Final = HELD_OUT + 1


def build_image_autoencoder() -> Any:
    """An `AutoencoderKLFlux2` with weights from torch's generator as it stands."""
    prepare_torchvision()
    from diffusers import AutoencoderKLFlux2

    return AutoencoderKLFlux2(
        block_out_channels=(16, 24, 48, 64),
        decoder_block_out_channels=(16, 32, 48, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        # Objects and background are seen from close by; attention over all places costs most on large pictures.
        mid_block_add_attention=False,
        # Side of a tile, in pixels, when large images are decoded in tiles.
        sample_size=512,
    )


@dataclass(frozen=True, kw_only=True)
class ImageAutoencoder:
    """Trains FLUX.2's autoencoder on pictures: square ones of 128 pixels, and wide ones of 256 × 128."""

    name: str = "image-autoencoder"
    steps: int = 4000
    learning_rate: float = 1e-3
    muon: str | None = None
    evaluate_every: int = 500

    def build(self) -> torch.nn.Module:
        model = build_image_autoencoder()
        assert isinstance(model, torch.nn.Module)
        return model

    def losses(self, model: Any, seed: int, step: int, device: torch.device) -> dict[str, torch.Tensor]:
        wide = step % 3 == 2
        form = Form(clips=2 if wide else 4, frames=1, width=2 * _SIDE if wide else _SIDE, height=_SIDE)
        batch = draw_batch(seed, step, form).to(device)
        mean = model.encode(batch.pixels[:, :, 0]).latent_dist.mean
        restored = model.decode(mean + _NOISE * torch.randn_like(mean), return_dict=False)[0]
        return reconstruction_losses(batch, restored[:, :, None], mean)

    def evaluate(self, model: Any, device: torch.device, pictures: Path) -> dict[str, float]:
        pictures.mkdir(parents=True, exist_ok=True)
        figures = {}
        for form in (
            Form(clips=12, frames=1, width=256, height=256),
            Form(clips=12, frames=1, width=256, height=128),
        ):
            batch = draw_batch(HELD_OUT, 0, form)
            pixels = batch.pixels[:, :, 0].to(device)
            latents = model.encode(pixels).latent_dist.mode()
            restored = model.decode(latents, return_dict=False)[0].clamp(-1.0, 1.0)
            name = f"{form.width}x{form.height}"
            figures[f"psnr_{name}"] = psnr(pixels, restored)
            figures[f"judged_{name}"] = judged_right(batch.scenes, restored)
            figures["latent_std"] = float(latents.std())
            contact_sheet([pixels, restored], pictures / f"{name}.png")
        return figures

    def save(self, model: Any, folder: Path) -> None:
        """With what normalises tokens, 2 × 2 latents each, to a standard deviation of `SPREAD`, in its batch norm."""
        device = next(model.parameters()).device
        pixels = draw_batch(_STATISTICS, 0, Form(clips=24, frames=1, width=256, height=128)).pixels[:, :, 0]
        with torch.no_grad():
            latents = torch.cat([model.encode(some.to(device)).latent_dist.mode() for some in pixels.split(8)])
        tokens = torch.nn.functional.pixel_unshuffle(latents, 2).transpose(0, 1).flatten(1)
        model.bn.running_mean.copy_(tokens.mean(dim=1))
        model.bn.running_var.copy_(tokens.var(dim=1) / SPREAD**2)
        model.save_pretrained(folder / "vae")
