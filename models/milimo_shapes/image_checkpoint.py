"""Writes the shapes' FLUX.2 in the folder layout that diffusers reads, of trained parts where there are any.

Folders in a run's `weights`: `vae`, `transformer`, `text_encoder`. The weights are stored as 16-bit floats; loading
casts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from milimo_runtime.vision_ops import prepare_torchvision

from milimo_shapes.image_autoencoder import build_image_autoencoder
from milimo_shapes.trained_parts import load_trained

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_image_checkpoint(root: Path, trained: Sequence[Path] = (), seed: int = 0) -> None:
    """Writes the checkpoint under `root`. A part that none of the folders in `trained` holds has random weights.

    The same seed gives the same bytes. The global random state is left as it was.
    """
    prepare_torchvision()
    from milimo_tiny.flux2_layout import write_layout

    from milimo_shapes import image_parts

    tokenizer = image_parts.caption_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts: dict[str, Any] = {
            "vae": build_image_autoencoder(),
            "text_encoder": image_parts.text_encoder(tokenizer),
            "transformer": image_parts.transformer(),
        }
    load_trained(parts, trained)
    root.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        part.save_pretrained(root / name, safe_serialization=True)
    tokenizer.save_pretrained(root / "tokenizer")
    write_layout(root, is_distilled=True)
