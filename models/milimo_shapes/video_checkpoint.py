"""Writes the shapes' LTX-2 in the folder layout that diffusers reads, of trained parts where there are any.

A run's `weights` folder has one folder per part that it trained, with the part's name in the checkpoint: `vae`,
`transformer`, `connectors`, `text_encoder`, `latent_upsampler`. The weights are stored as 16-bit floats; loading casts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from milimo_runtime.vision_ops import prepare_torchvision
from safetensors.torch import load_file

from milimo_shapes.video_autoencoder import build_video_autoencoder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

UPSAMPLER: Final = "latent_upsampler"


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
        upsampler = video_parts.spatial_upsampler()
    for name, part in (*parts.items(), (UPSAMPLER, upsampler)):
        for folder in trained:
            if (folder / name).is_dir():
                load_part(part, folder / name)
        # Its own `to` warns of parts that must stay precise; there are none.
        torch.nn.Module.to(part, torch.float16)
    pipeline: Any = LTX2Pipeline(scheduler=scheduler(), tokenizer=video_parts.caption_tokenizer(), **parts)
    root.mkdir(parents=True, exist_ok=True)
    pipeline.save_pretrained(root, safe_serialization=True)
    upsampler.save_pretrained(root / UPSAMPLER, safe_serialization=True)


def load_part(part: Any, folder: Path) -> None:
    """Gives a part the weights that `save_pretrained` wrote to `folder`, in one file, in whatever precision.

    Raises `RuntimeError` when names or shapes differ.
    """
    (file,) = folder.glob("*.safetensors")
    weights = load_file(file)
    if hasattr(part, "tie_weights"):
        # transformers leaves out what is tied to other weights.
        missing, unexpected = part.load_state_dict(weights, strict=False)
        part.tie_weights()
        tied = set(part.state_dict()) - set(weights)
        if unexpected or set(missing) - tied:
            raise RuntimeError(f"{folder} does not fit: {missing} are missing, {unexpected} are left over")
        return
    part.load_state_dict(weights)
