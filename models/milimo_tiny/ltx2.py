"""A tiny LTX-2 checkpoint with random weights, in the folder layout that diffusers reads.

Every part is the real architecture with small widths, so whatever runs the 19 B model runs this one: 121 frames of
256 × 128 take about two seconds on a laptop. The weights depend on the seed alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from milimo_runtime.vision_ops import prepare_torchvision

if TYPE_CHECKING:
    from pathlib import Path


def write_ltx2(root: Path, seed: int = 0) -> None:
    """Writes the checkpoint under `root`: one folder per part, `model_index.json`, and both upsamplers.

    The same seed gives the same bytes. The global random state is left as it was.
    """
    prepare_torchvision()
    from diffusers import LTX2Pipeline

    from milimo_tiny import ltx2_parts
    from milimo_tiny.gemma_tokenizer import build_tokenizer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline: Any = LTX2Pipeline(
            scheduler=ltx2_parts.scheduler(),
            vae=ltx2_parts.video_vae(),
            audio_vae=ltx2_parts.audio_vae(),
            text_encoder=ltx2_parts.text_encoder(),
            tokenizer=build_tokenizer(),
            connectors=ltx2_parts.connectors(),
            transformer=ltx2_parts.transformer(),
            vocoder=ltx2_parts.vocoder(),
        )
        # Made last, so that the other parts are what they were without it.
        upsamplers: dict[str, Any] = {
            "latent_upsampler": ltx2_parts.spatial_upsampler(),
            "temporal_upsampler": ltx2_parts.temporal_upsampler(),
        }
    root.mkdir(parents=True, exist_ok=True)
    pipeline.save_pretrained(root, safe_serialization=True)
    for folder, upsampler in upsamplers.items():
        upsampler.save_pretrained(root / folder, safe_serialization=True)
