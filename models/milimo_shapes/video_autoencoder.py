"""LTX-2's video autoencoder with the widths of the toy world: 16 × 16 pixels and 8 frames per latent, 32 channels.

Two thirds of the work is at the finest stage, of 8 × 8 pixels per place, so that is 64 channels wide, enough for sharp
outlines, and the encoder's, which is as wide as the latent, 32.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from milimo_runtime.vision_ops import prepare_torchvision

LATENT_CHANNELS: Final = 32
SPATIAL_COMPRESSION: Final = 16
TEMPORAL_COMPRESSION: Final = 8
# Standard deviation of latents as the transformer sees them. The noise levels of the distilled schedule are fixed, and
# meant for far larger videos, whose latents tell more of each other: with 1, five of its eight steps would see noise.
SPREAD: Final = 3.0
_LOG_VARIANCE: Final = -6.0


def build_video_autoencoder() -> Any:
    """An `AutoencoderKLLTX2Video` with weights from torch's generator as it stands."""
    prepare_torchvision()
    from diffusers import AutoencoderKLLTX2Video

    autoencoder: Any = AutoencoderKLLTX2Video(
        latent_channels=LATENT_CHANNELS,
        patch_size=8,
        block_out_channels=(64, 64, 128),
        down_block_types=("LTX2VideoDownBlock3D",) * 3,
        downsample_type=("temporal", "temporal", "spatiotemporal"),
        spatio_temporal_scaling=(True,) * 3,
        layers_per_block=(1, 1, 1, 1),
        # From the finest stage to the coarsest, as are the factors; the order of `upsample_type` is the other way.
        decoder_block_out_channels=(64, 64, 128),
        upsample_factor=(1, 1, 2),
        upsample_type=("spatiotemporal", "temporal", "temporal"),
        upsample_residual=(True,) * 3,
        decoder_spatio_temporal_scaling=(True,) * 3,
        decoder_inject_noise=(False,) * 4,
        decoder_layers_per_block=(2, 1, 1, 1),
        # Reflection, the default, needs two places on each side and is slow on a CPU.
        decoder_spatial_padding_mode="zeros",
        encoder_causal=True,
        decoder_causal=False,
        spatial_compression_ratio=SPATIAL_COMPRESSION,
        temporal_compression_ratio=TEMPORAL_COMPRESSION,
    )
    _initialise(autoencoder)
    return autoencoder


@torch.no_grad()
def _initialise(autoencoder: Any) -> None:
    """Weights with which signals keep their strength, and blocks that begin as the identity: faster by far at first."""
    for name, module in autoencoder.named_modules():
        if not isinstance(module, torch.nn.Conv3d):
            continue
        if module.bias is not None:
            module.bias.zero_()
        if name.endswith("conv2.conv"):
            module.weight.zero_()
        else:
            module.weight.normal_(0.0, module.weight[0].numel() ** -0.5)
    last = autoencoder.encoder.conv_out.conv
    # The last channel is the logarithm of the latents' variance. At 0 noise would drown what new weights say, and the
    # decoder would learn not to listen.
    last.weight[-1] = 0.0
    last.bias[-1] = _LOG_VARIANCE
    autoencoder.decoder.conv_out.conv.weight.mul_(0.3)
