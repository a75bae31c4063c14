"""LoRAs of random weights for the tiny transformer, in the official code's names, as they are published."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from milimo_video.models import VideoModels

RANK = 2
# Layers whose names differ between the official code and diffusers, and such whose names do not.
LAYERS = {
    "patchify_proj": "proj_in",
    "adaln_single.linear": "time_embed.linear",
    "av_ca_a2v_gate_adaln_single.linear": "av_cross_attn_video_a2v_gate.linear",
} | {
    f"transformer_blocks.{block}.{layer}": f"transformer_blocks.{block}.{layer}"
    for block in range(4)
    for layer in ("attn1.to_q", "attn2.to_v", "audio_attn1.to_k", "ff.net.2", "video_to_audio_attn.to_out.0")
}


def write_lora(
    path: Path,
    models: VideoModels,
    *,
    seed: int,
    size: float = 0.2,
    layers: Mapping[str, str] = LAYERS,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a LoRA that adapts `layers` (official → diffusers' name) of the transformer."""
    transformer = models.text_to_video.transformer
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for official, ours in layers.items():
        outputs, inputs = transformer.get_submodule(ours).weight.shape
        weights[f"diffusion_model.{official}.lora_A.weight"] = torch.randn(RANK, inputs, generator=generator) * size
        weights[f"diffusion_model.{official}.lora_B.weight"] = torch.randn(outputs, RANK, generator=generator) * size
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata=dict(metadata or {}))
