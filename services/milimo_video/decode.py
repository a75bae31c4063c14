"""From latents to frames and samples, piece by piece, so that memory does not grow with the length of a video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from milimo_video.geometry import SPATIAL_COMPRESSION, TEMPORAL_COMPRESSION, TWO_STAGE_MULTIPLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from milimo_video.models import VideoModels

# Frames converted to bytes and handed over at a time.
_BATCH_FRAMES = 16


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How a video is decoded: in one pass up to a size, else in overlapping tiles in space and time.

    Tiles are squares of `side` pixels every `stride` pixels, and `frames` frames every `frame_stride` frames;
    neighbours are blended where they overlap. The defaults are the official ones, and 121 frames of 768 × 512 fit in
    one pass. Raises `ValueError` for tiles off the grid.
    """

    one_pass_pixels: int = 121 * 768 * 512
    side: int = 512
    stride: int = 448
    frames: int = 64
    frame_stride: int = 40

    def __post_init__(self) -> None:
        # A multiple of 64 like the video's sides: the last tile would else be a single latent, too thin to be padded.
        if self.side % SPATIAL_COMPRESSION or self.stride % TWO_STAGE_MULTIPLE or not 0 < self.stride <= self.side:
            raise ValueError(f"tiles of {self.side} pixels every {self.stride} are off the grid")
        if self.frames % TEMPORAL_COMPRESSION or self.frame_stride % TEMPORAL_COMPRESSION:
            raise ValueError(f"tiles of {self.frames} frames every {self.frame_stride} are off the grid")
        if not 0 < self.frame_stride <= self.frames:
            raise ValueError(f"tiles of {self.frames} frames every {self.frame_stride} leave gaps")


@torch.no_grad()
def decode_video(models: VideoModels, latents: torch.Tensor, tiling: Tiling) -> Iterator[NDArray[np.uint8]]:
    """Yields the frames of video latents [1, 128, F, h, w] in order, as arrays [n, 32 h, 32 w, 3] of RGB bytes.

    There are 8 (F − 1) + 1 frames in all. Only one piece is in memory at a time. (32 is the real autoencoder's.)
    """
    vae = models.vae
    latents = latents.to(vae.dtype)
    for piece in _decoded_pieces(vae, latents, tiling):
        for start in range(0, piece.shape[2], _BATCH_FRAMES):
            batch = piece[0, :, start : start + _BATCH_FRAMES]
            # The order of operations is that of diffusers' video processor, so that the bytes are the same.
            unit = (batch * 0.5 + 0.5).clamp_(0, 1).float()
            yield unit.mul_(255).round_().to(torch.uint8).permute(1, 2, 3, 0).contiguous().cpu().numpy()


@torch.no_grad()
def decode_audio(models: VideoModels, latents: torch.Tensor, samples: int) -> NDArray[np.float32]:
    """The waveform of audio latents [1, C, L, M], two channels in [-1, 1]: [2, samples].

    Cut or filled with silence to exactly `samples`: the model's audio is causal and ends a few milliseconds early.
    """
    mel = models.audio_vae.decode(latents.to(models.audio_vae.dtype), return_dict=False)[0]
    waveform = models.vocoder(mel)[0].float().cpu().numpy()
    exact = np.zeros((2, samples), dtype=np.float32)
    length = min(samples, waveform.shape[1])
    exact[:, :length] = waveform[:, :length]
    return exact


def _decoded_pieces(vae: Any, latents: torch.Tensor, tiling: Tiling) -> Iterator[torch.Tensor]:
    """Pieces [1, 3, n, H, W] of the decoded video in order.

    diffusers can tile in time, but joins the tiles one frame off: the first frame of a later tile stands for the last
    frame of the latent it starts with, which the tile before has already given, and diffusers drops the last frame
    instead. Here the first is dropped.
    """
    total, height, width = latents.shape[2:]
    frames = (total - 1) * TEMPORAL_COMPRESSION + 1
    if frames * height * width * vae.spatial_compression_ratio**2 <= tiling.one_pass_pixels:
        yield vae.decode(latents, None, return_dict=False)[0]
        return
    size = tiling.frames // TEMPORAL_COMPRESSION
    stride = tiling.frame_stride // TEMPORAL_COMPRESSION
    tail: torch.Tensor | None = None
    for start in range(0, total, stride):
        last = start + size + 1 >= total
        piece = _decode_tile(vae, latents[:, :, start : start + size + 1], tiling)
        kept = tiling.frame_stride
        if tail is None:
            kept += 1
        else:
            piece = piece[:, :, 1:]
            overlap = tail.shape[2]
            weight = torch.arange(overlap, dtype=piece.dtype, device=piece.device).div_(overlap).view(1, 1, -1, 1, 1)
            piece[:, :, :overlap] = tail * (1 - weight) + piece[:, :, :overlap] * weight
        if last:
            yield piece
            return
        tail = piece[:, :, kept:].clone()
        yield piece[:, :, :kept]


def _decode_tile(vae: Any, latents: torch.Tensor, tiling: Tiling) -> torch.Tensor:
    side = tiling.side // vae.spatial_compression_ratio
    if latents.shape[3] <= side and latents.shape[4] <= side:
        decoded = vae.decode(latents, None, return_dict=False)[0]
    else:
        vae.tile_sample_min_height = vae.tile_sample_min_width = tiling.side
        vae.tile_sample_stride_height = vae.tile_sample_stride_width = tiling.stride
        decoded = vae.tiled_decode(latents, None, return_dict=False)[0]
    assert isinstance(decoded, torch.Tensor)
    return decoded
