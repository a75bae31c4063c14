"""How the upsamplers learn: from latents of clips at half size, or half the frame rate, to those of the same clips."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from milimo_runtime.vision_ops import prepare_torchvision

from milimo_shapes.latent_cache import PAIRS, STILLS, Kind, LatentCache
from milimo_shapes.video_checkpoint import SPATIAL_UPSAMPLER, TEMPORAL_UPSAMPLER

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_shapes.latent_cache import Shard

_STILL_COUNT = 16
_CLIP_COUNT = 2
# Latent frames of a clip that the spatial upsampler sees at a time.
_PIECE = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class _Upsampler(ABC):
    """Trains an upsampler on the latents in `cache`. The pipelines give it latents that are not normalised."""

    cache: LatentCache
    steps: int = 2500
    learning_rate: float = 1e-3
    muon: str | None = None
    evaluate_every: int = 500
    name: ClassVar[str]
    part: ClassVar[str]
    kinds: ClassVar[tuple[Kind, ...]]

    def build(self) -> torch.nn.Module:
        prepare_torchvision()
        from milimo_shapes import video_parts

        builders = {
            SPATIAL_UPSAMPLER: video_parts.spatial_upsampler,
            TEMPORAL_UPSAMPLER: video_parts.temporal_upsampler,
        }
        model = builders[self.part]()
        assert isinstance(model, torch.nn.Module)
        return model

    def losses(self, model: Any, seed: int, step: int, device: torch.device) -> dict[str, torch.Tensor]:
        random = np.random.default_rng((seed, step))
        kinds = [kind for kind in self.kinds if self.cache.size(kind)]
        kind = kinds[int(random.integers(len(kinds)))]
        error, spread = self._error(model, kind, int(random.integers(2**31)), random, device)
        return {"loss": error, "relative": (error / spread).detach()}

    def evaluate(self, model: Any, device: torch.device, pictures: Path) -> dict[str, float]:
        """The part of the latents' variance that is not met, on the first shards."""
        figures = {}
        for kind in self.kinds:
            if self.cache.size(kind):
                error, spread = self._error(model, kind, 0, np.random.default_rng(0), device)
                figures[kind.name] = float(error / spread)
        return figures

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder / self.part)

    @abstractmethod
    def _examples(self, shard: Shard, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """What is given and what is wanted, normalised."""

    def _error(
        self, model: Any, kind: Kind, index: int, random: np.random.Generator, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        given, wanted = (
            self.cache.restore(each).to(device) for each in self._examples(self.cache.shard(kind, index), random)
        )
        return (model(given) - wanted).square().mean(), wanted.var()


@dataclass(frozen=True, kw_only=True, eq=False)
class SpatialUpsampler(_Upsampler):
    """From half size: pictures and, where there are any, pieces of clips."""

    name = "spatial-upsampler"
    part = SPATIAL_UPSAMPLER
    kinds = (STILLS, PAIRS)

    def _examples(self, shard: Shard, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        half, full = shard.latents["half"], shard.latents["full"]
        is_still = half.shape[2] == 1
        count, length = (_STILL_COUNT, 1) if is_still else (_CLIP_COUNT, _PIECE)
        chosen = random.choice(len(shard.clips), count, replace=False)
        begin = int(random.integers(half.shape[2] - length + 1))
        piece = slice(begin, begin + length)
        return half[chosen][:, :, piece], full[chosen][:, :, piece]


@dataclass(frozen=True, kw_only=True, eq=False)
class TemporalUpsampler(_Upsampler):
    """From half the frame rate: whole clips, since the first latent stands for one frame and the others for eight."""

    steps: int = 2000
    name = "temporal-upsampler"
    part = TEMPORAL_UPSAMPLER
    kinds = (PAIRS,)

    def _examples(self, shard: Shard, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = random.choice(len(shard.clips), _CLIP_COUNT, replace=False)
        slow = shard.latents["slow"][chosen]
        return slow, shard.latents["full"][chosen][:, :, : 2 * slow.shape[2] - 1]
