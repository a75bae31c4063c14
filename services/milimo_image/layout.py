"""Where the parts of a checkpoint lie: in diffusers' folders, or with the transformer in one file. Knows no torch.

folders   model_index.json, scheduler/, tokenizer/, transformer/, text_encoder/
one file  flux-2-klein-9b.safetensors, text_encoder/, tokenizer/ (or its files in text_encoder/); what else the folders
          would tell follows from the file's shapes and name

In both, the autoencoder is ae.safetensors or vae/.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from milimo_runtime.errors import ModelMissing

from milimo_image.autoencoder import autoencoders_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SINGLE_FILES: Final = "flux-2-klein*.safetensors"
_FOLDERS: Final = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer.json",
    "transformer/config.json",
)
# FLUX.2's schedule, the same for all of its models.
_SCHEDULE: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "num_train_timesteps": 1000,
        "shift": 3.0,
        "use_dynamic_shifting": True,
        "base_shift": 0.5,
        "max_shift": 1.15,
        "base_image_seq_len": 256,
        "max_image_seq_len": 4096,
    }
)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What was found. `transformer` is a folder or a file."""

    transformer: Path
    text_encoder: Path
    tokenizer: Path
    schedule: Mapping[str, Any]
    is_distilled: bool


def find_layout(root: Path) -> Layout:
    """The parts of the checkpoint at `root`. Raises ModelMissing, naming every file that lacks."""
    text_encoder = root / "text_encoder"
    single = next(iter(sorted(root.glob(_SINGLE_FILES))), None)
    in_folders = single is None or (root / "transformer").is_dir()
    missing = [name for name in ("text_encoder/config.json", *(_FOLDERS if in_folders else ())) if _lacks(root, name)]
    parts = ("text_encoder", "transformer") if in_folders else ("text_encoder",)
    missing += [f"{part}/*.safetensors" for part in parts if not any((root / part).glob("*.safetensors"))]
    tokenizer = root / "tokenizer" if (root / "tokenizer").is_dir() else text_encoder
    if not in_folders and _lacks(tokenizer, "tokenizer.json"):
        missing.append("tokenizer/tokenizer.json")
    if not autoencoders_at(root):
        missing.append("vae/config.json with vae/*.safetensors, or ae.safetensors")
    if missing:
        raise ModelMissing(
            f"FLUX.2 at {root} lacks {', '.join(missing)}; `milimo models verify` shows every file that is missing"
        )
    if single is not None and not in_folders:
        return Layout(
            transformer=single,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            schedule=_SCHEDULE,
            is_distilled="base" not in single.name,
        )
    index = json.loads((root / "model_index.json").read_text(encoding="utf-8"))
    return Layout(
        transformer=root / "transformer",
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        schedule=MappingProxyType(
            json.loads((root / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
        ),
        is_distilled=bool(index.get("is_distilled", False)),
    )


def _lacks(root: Path, name: str) -> bool:
    return not (root / name).is_file()
