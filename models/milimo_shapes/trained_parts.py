"""Trained weights into the parts of a checkpoint.

A run's `weights` folder has one folder per part that it trained, with the part's name in the checkpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def load_trained(parts: Mapping[str, Any], folders: Sequence[Path]) -> None:
    """Gives each part the weights that one of the folders holds for it, and makes all of them 16-bit floats.

    Raises `RuntimeError` when names or shapes differ.
    """
    for name, part in parts.items():
        for folder in folders:
            if (folder / name).is_dir():
                load_part(part, folder / name)
        # Its own `to` warns of parts that must stay precise; there are none.
        torch.nn.Module.to(part, torch.float16)


def load_part(part: Any, folder: Path) -> None:
    """Gives a part the weights that `save_pretrained` wrote to `folder`, in one file, in whatever precision.

    Raises `RuntimeError` when names or shapes differ.
    """
    from transformers import PreTrainedModel

    if isinstance(part, PreTrainedModel):
        # transformers writes other names than it has in memory, and leaves out what is tied to other weights.
        weights = type(part).from_pretrained(folder, dtype=torch.float32, local_files_only=True).state_dict()
    else:
        (file,) = folder.glob("*.safetensors")
        weights = load_file(file)
    part.load_state_dict(weights)
