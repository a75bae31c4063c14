"""Batches of drawn scenes as tensors. A batch depends on its seed and number alone, whatever was drawn before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from milimo_shapes.rendering import Canvas, draw
from milimo_shapes.sampling import random_scene

if TYPE_CHECKING:
    from milimo_shapes.scene import Scene

_RATES: Final = (24.0, 25.0, 30.0)
# A clip begins within that time of its scene, so that all of a movement is seen.
_LATEST_START: Final = 4.5


@dataclass(frozen=True, kw_only=True)
class Form:
    """How many clips, of how many frames, and their size in pixels."""

    clips: int
    frames: int
    width: int
    height: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """`pixels`: [B, 3, T, H, W] in [-1, 1]; `coverage`: [B, 1, T, H, W], the part of a pixel that objects cover."""

    scenes: tuple[Scene, ...]
    pixels: torch.Tensor
    coverage: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(scenes=self.scenes, pixels=self.pixels.to(device), coverage=self.coverage.to(device))


def draw_batch(seed: int, number: int, form: Form) -> Batch:
    """Batch `number` of the endless row that `seed` begins."""
    random = np.random.default_rng((seed, number))
    scenes, pixels, coverage = [], [], []
    for _ in range(form.clips):
        scene = random_scene(random, aspect=form.width / form.height)
        canvas = Canvas(
            width=form.width,
            height=form.height,
            frames=form.frames,
            fps=_RATES[random.integers(len(_RATES))],
            start=float(random.uniform(0.0, _LATEST_START)),
        )
        clip = draw(scene, canvas)
        scenes.append(scene)
        pixels.append(clip.frames)
        coverage.append(clip.coverage.sum(axis=0))
    return Batch(
        scenes=tuple(scenes),
        pixels=torch.from_numpy(np.stack(pixels)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0,
        coverage=torch.from_numpy(np.stack(coverage))[:, None],
    )
