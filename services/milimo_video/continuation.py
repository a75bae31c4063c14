"""How a chunk of a long video goes on from the one before it.

What is handed over is a file: the next chunk depends on it and on its own seed alone, so that it comes out the same
whether or not the process lived on in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from milimo_video.reference import ReferenceVideo, with_references

if TYPE_CHECKING:
    from pathlib import Path

_FRAMES = "frames"
_HALF = "half"
_FULL = "full"
_DOUBLED = "doubled"
_MEAN = "mean"
_DEVIATION = "deviation"
# A channel that hardly varies has nothing that could be scaled.
_LEAST_DEVIATION = 1e-6


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Mean and standard deviation of each of the 128 channels of stage 1's latents: [128] each."""

    mean: torch.Tensor
    deviation: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class HandOff:
    """The end of a chunk, as the next one needs it, on the CPU.

    Either `frames`, RGB bytes [n, height, width, 3] at the model's size, or the tails of the stages, latents that are
    not normalised [1, 128, n, h, w]: at half and at full size, and of the temporal stage, if there is one. `statistics`
    are those of the first chunk, when they are to be matched. `after` are frames that stand at `after_frame` of the
    chunk, behind what it makes; they are not saved.
    """

    frames: torch.Tensor | None = None
    half: torch.Tensor | None = None
    full: torch.Tensor | None = None
    doubled: torch.Tensor | None = None
    statistics: Statistics | None = None
    after: torch.Tensor | None = None
    after_frame: int = 0

    def save(self, path: Path) -> None:
        """Writes it as safetensors: the same bytes for the same values."""
        tensors = {_FRAMES: self.frames, _HALF: self.half, _FULL: self.full, _DOUBLED: self.doubled}
        if self.statistics is not None:
            tensors |= {_MEAN: self.statistics.mean, _DEVIATION: self.statistics.deviation}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}, path)


def load_hand_off(path: Path) -> HandOff:
    """What `HandOff.save` wrote."""
    tensors = load_file(path)
    return HandOff(
        frames=tensors.get(_FRAMES),
        half=tensors.get(_HALF),
        full=tensors.get(_FULL),
        doubled=tensors.get(_DOUBLED),
        statistics=Statistics(mean=tensors[_MEAN], deviation=tensors[_DEVIATION]) if _MEAN in tensors else None,
    )


@dataclass(frozen=True, kw_only=True)
class LatentTail:
    """A condition of `continuing_pipeline`: latents, not normalised, [1, 128, n, h, w], that stand at the start."""

    latents: torch.Tensor


def statistics_of(latents: torch.Tensor) -> Statistics:
    """Statistics of latents [1, 128, F, h, w] over all places."""
    deviation, mean = torch.std_mean(latents.float().cpu(), dim=(0, 2, 3, 4), correction=0)
    return Statistics(mean=mean, deviation=deviation)


def match_statistics(latents: torch.Tensor, wanted: Statistics) -> torch.Tensor:
    """Latents [1, 128, F, h, w], each channel scaled and shifted to the wanted statistics (AdaIN)."""
    here = statistics_of(latents)
    scale = wanted.deviation / here.deviation.clamp_min(_LEAST_DEVIATION)

    def per_channel(values: torch.Tensor) -> torch.Tensor:
        return values.view(1, -1, 1, 1, 1).to(latents.device, latents.dtype)

    return (latents - per_channel(here.mean)) * per_channel(scale) + per_channel(wanted.mean)


def continuing_pipeline(**parts: Any) -> Any:
    """An LTX2ConditionPipeline of these parts that also takes `LatentTail` and `ReferenceVideo` among its conditions.

    diffusers conditions on pictures alone. A tail takes the place of the first latent frames like an encoded video
    would, at full strength: no noise is added to it, and no step changes it. References are appended.
    """
    # Imported here: torchvision must be prepared first.
    from diffusers import LTX2ConditionPipeline

    class ContinuingPipeline(LTX2ConditionPipeline):  # type: ignore[misc]  # Any, as its module's classes are.
        def prepare_latents(self, conditions: Any = None, **given: Any) -> tuple[Any, Any, Any, Any]:
            own = (LatentTail, ReferenceVideo)
            tails = [condition for condition in conditions or () if isinstance(condition, LatentTail)]
            references = [condition for condition in conditions or () if isinstance(condition, ReferenceVideo)]
            pictures = [condition for condition in conditions or () if not isinstance(condition, own)]
            latents, mask, clean, coords = super().prepare_latents(conditions=pictures, **given)
            for tail in tails:
                normal = self._normalize_latents(
                    tail.latents.to(latents.device, latents.dtype),
                    self.vae.latents_mean,
                    self.vae.latents_std,
                    self.vae.config.scaling_factor,
                )
                tokens = self._pack_latents(
                    normal, self.transformer_spatial_patch_size, self.transformer_temporal_patch_size
                )
                length = tokens.shape[1]
                latents[:, :length] = tokens
                clean[:, :length] = tokens
                mask[:, :length] = 1.0
            return with_references(
                self,
                references,
                (latents, mask, clean, coords),
                width=given["width"],
                height=given["height"],
                fps=given["frame_rate"],
                noise_scale=given["noise_scale"],
                generator=given["generator"],
            )

    return ContinuingPipeline(**parts)
