"""How the spatial upsampler learns: from latents of clips at half size to those of the same clips at full size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from milimo_runtime.vision_ops import prepare_torchvision

from milimo_shapes.latent_cache import PAIRS, STILLS, Kind, LatentCache

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, eq=False)
class SpatialUpsampler:
    """Trains the upsampler on the latents in `cache`, on pictures and, where there are any, on pieces of clips."""

    cache: LatentCache
    name: str = "spatial-upsampler"
    steps: int = 4000
    learning_rate: float = 1e-3
    evaluate_every: int = 500

    def build(self) -> torch.nn.Module:
        prepare_torchvision()
        from milimo_shapes.video_parts import spatial_upsampler

        model = spatial_upsampler()
        assert isinstance(model, torch.nn.Module)
        return model

    def losses(self, model: Any, seed: int, step: int, device: torch.device) -> dict[str, torch.Tensor]:
        random = np.random.default_rng((seed, step))
        kind = PAIRS if self.cache.size(PAIRS) and random.random() < 0.5 else STILLS
        error, spread = self._error(model, kind, int(random.integers(2**31)), random, device)
        return {"loss": error, "relative": (error / spread).detach()}

    def evaluate(self, model: Any, device: torch.device, pictures: Path) -> dict[str, float]:
        """The part of the latents' variance that is not met, on the first shards."""
        figures = {}
        for kind in (STILLS, PAIRS):
            if self.cache.size(kind):
                error, spread = self._error(model, kind, 0, np.random.default_rng(0), device)
                figures[kind.name] = float(error / spread)
        return figures

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder / "latent_upsampler")

    def _error(
        self, model: Any, kind: Kind, index: int, random: np.random.Generator, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        shard = self.cache.shard(kind, index)
        count, length = (16, 1) if kind is STILLS else (2, 5)
        chosen = random.choice(len(shard.clips), count, replace=False)
        half, full = (shard.latents[size][chosen] for size in ("half", "full"))
        begin = int(random.integers(half.shape[2] - length + 1))
        piece = slice(begin, begin + length)
        # The pipelines give it latents that are not normalised.
        half, full = (self.cache.restore(each[:, :, piece]).to(device) for each in (half, full))
        return (model(half) - full).square().mean(), full.var()
