"""Writes the shapes' LTX-2 in the folder layout that diffusers reads, of trained parts where there are any.

Folders in a run's `weights`: `vae`, `transformer`, `connectors`, `text_encoder`, `latent_upsampler`,
`temporal_upsampler`. The weights are stored as 16-bit floats; loading casts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from milimo_runtime.vision_ops import prepare_torchvision

from milimo_shapes.trained_parts import load_trained
from milimo_shapes.video_autoencoder import build_video_autoencoder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SPATIAL_UPSAMPLER: Final = "latent_upsampler"
TEMPORAL_UPSAMPLER: Final = "temporal_upsampler"


def write_video_checkpoint(root: Path, trained: Sequence[Path] = (), seed: int = 0) -> None:
    """Writes the checkpoint under `root`. A part that none of the folders in `trained` holds has random weights.

    The same seed gives the same bytes. The global random state is left as it was.
    """
    prepare_torchvision()
    from diffusers import LTX2Pipeline
    from milimo_tiny.ltx2_parts import scheduler

    from milimo_shapes import video_parts

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts: dict[str, Any] = {
            "vae": build_video_autoencoder(),
            "audio_vae": video_parts.audio_vae(),
            "text_encoder": video_parts.text_encoder(),
            "connectors": video_parts.connectors(),
            "transformer": video_parts.transformer(),
            "vocoder": video_parts.vocoder(),
        }
        upsamplers: dict[str, Any] = {
            SPATIAL_UPSAMPLER: video_parts.spatial_upsampler(),
            TEMPORAL_UPSAMPLER: video_parts.temporal_upsampler(),
        }
    load_trained({**parts, **upsamplers}, trained)
    pipeline: Any = LTX2Pipeline(scheduler=scheduler(), tokenizer=video_parts.caption_tokenizer(), **parts)
    root.mkdir(parents=True, exist_ok=True)
    pipeline.save_pretrained(root, safe_serialization=True)
    for name, upsampler in upsamplers.items():
        upsampler.save_pretrained(root / name, safe_serialization=True)
