"""Latents decoded in tiles."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from milimo_runtime.observer import Silent
from milimo_video.decode import Tiling, decode_video
from milimo_video.engine import make_latents
from milimo_video.plan import plan_video
from milimo_video.text import PromptCache

from .tiny import SMALL

if TYPE_CHECKING:
    from milimo_video.models import VideoModels


@pytest.mark.parametrize(
    "tiles", [{"side": 500}, {"stride": 32}, {"stride": 576}, {"frames": 60}, {"frame_stride": 0}, {"frame_stride": 72}]
)
def test_tiles_off_the_grid_are_refused(tiles: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="tiles of"):
        Tiling(**tiles)


def test_tiles_in_time_are_aligned(models: VideoModels) -> None:
    """Tiles must agree with a decode in one pass, better than diffusers' own, which are a frame off."""
    request = replace(SMALL, num_frames=121)
    latents = make_latents(models, request, plan_video(request, "distilled"), {}, Silent(), PromptCache(0)).video
    tiling = Tiling(one_pass_pixels=0, side=96, stride=64, frames=32, frame_stride=16)
    whole = np.concatenate(list(decode_video(models, latents, Tiling()))).astype(float)
    pieces = list(decode_video(models, latents, replace(tiling, side=512)))
    tiled = np.concatenate(pieces).astype(float)
    assert tiled.shape == whole.shape == (121, 64, 128, 3)
    # Streamed: no piece is longer than what two neighbouring tiles settle.
    assert max(len(piece) for piece in pieces) <= 33

    vae = models.vae
    vae.use_framewise_decoding = True
    vae.tile_sample_min_num_frames, vae.tile_sample_stride_num_frames = 32, 16
    with torch.no_grad():
        theirs = vae.decode(latents, None, return_dict=False)[0]
    vae.use_framewise_decoding = False
    theirs = ((theirs[0] * 0.5 + 0.5).clamp(0, 1) * 255).round().permute(1, 2, 3, 0).numpy()
    assert np.abs(tiled - whole).mean() < np.abs(theirs - whole).mean() / 2

    in_space = np.concatenate(list(decode_video(models, latents, tiling)))
    assert in_space.shape == whole.shape
