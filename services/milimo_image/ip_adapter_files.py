"""The IP-Adapter's files: what is there, and whether it fits together, by headers alone. Knows no torch.

ip-adapter.safetensors   a linear layer and a layer norm, from the image's embedding to a few tokens
image_encoder/           the vision part of CLIP (ViT-L/14 for the published adapters), in transformers' layout
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from milimo_runtime.errors import ModelMissing

from milimo_image.layout import find_layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WEIGHTS_FILE: Final = "ip-adapter.safetensors"
ENCODER_FOLDER: Final = "image_encoder"
# What stands before the names in files of different origin.
_PREFIXES: Final = ("", "image_proj.", "image_proj_model.", "ip_adapter_proj_model.")


@dataclass(frozen=True, kw_only=True)
class IpAdapterFiles:
    """An adapter that fits its encoder. Widths by the shapes of its weights."""

    weights: Path
    encoder: Path
    prefix: str  # of the weights' names
    input_width: int
    tokens: int  # for each image
    token_width: int
    is_projected: bool  # reads the encoder's projected embedding, else its pooled hidden state
    repeats: int  # of a token, side by side, in the joint width


def has_ip_adapter(root: Path) -> bool:
    """Whether both parts lie below `root`."""
    return not _missing(root)


def ip_adapter_files(root: Path) -> IpAdapterFiles:
    """The adapter below `root`. Raises ModelMissing: a part is missing, damaged, or does not fit the rest."""
    missing = _missing(root)
    if missing:
        raise ModelMissing(f"the IP-Adapter needs {' and '.join(missing)} at {root}")
    weights, encoder = root / WEIGHTS_FILE, root / ENCODER_FOLDER
    shapes = _shapes(weights)
    for prefix in _PREFIXES:
        norm, linear = shapes.get(f"{prefix}norm.weight", ()), shapes.get(f"{prefix}proj.weight", ())
        if len(norm) == 1 and len(linear) == 2 and f"{prefix}proj.bias" in shapes and f"{prefix}norm.bias" in shapes:
            break
    else:
        raise ModelMissing(f"{weights} is no IP-Adapter: it lacks proj.weight, proj.bias, norm.weight or norm.bias")
    tokens, rest = divmod(linear[0], norm[0])
    if rest or not tokens:
        raise ModelMissing(f"{weights} is no IP-Adapter: {linear[0]} values make no tokens of {norm[0]}")
    hidden, projected = _encoder_widths(encoder)
    if linear[1] not in (hidden, projected):
        raise ModelMissing(
            f"{weights} reads embeddings of {linear[1]} values; the encoder in {encoder} gives {projected}, "
            f"or {hidden} before its projection"
        )
    for part in sorted(encoder.glob("*.safetensors")):
        _shapes(part)
    repeats, rest = divmod(joint := _joint_width(root), norm[0])
    if rest:
        raise ModelMissing(f"{weights} makes tokens of {norm[0]} values, of which the model's {joint} are no multiple")
    return IpAdapterFiles(
        weights=weights,
        encoder=encoder,
        prefix=prefix,
        input_width=linear[1],
        tokens=tokens,
        token_width=norm[0],
        is_projected=linear[1] == projected,
        repeats=repeats,
    )


def _missing(root: Path) -> list[str]:
    missing = [] if (root / WEIGHTS_FILE).is_file() else [WEIGHTS_FILE]
    encoder = root / ENCODER_FOLDER
    if not (encoder / "config.json").is_file():
        missing.append(f"{ENCODER_FOLDER}/config.json")
    if not any(encoder.glob("*.safetensors")):
        missing.append(f"{ENCODER_FOLDER}/*.safetensors")
    return missing


def _shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    """The shapes of a file's tensors, by name; none of them is read. Raises ModelMissing."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelMissing(f"{path} is damaged: {error}") from error


def _encoder_widths(folder: Path) -> tuple[int, int]:
    """Width of the pooled hidden state, and of the projected embedding. Raises ModelMissing."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        # The folder of a whole CLIP has the vision part's settings within.
        vision = {**config, **(config.get("vision_config") or {})}
        return int(vision["hidden_size"]), int(config.get("projection_dim") or vision["projection_dim"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelMissing(f"{folder / 'config.json'} describes no image encoder: {error!r}") from error


def _joint_width(root: Path) -> int:
    """Values of a token of the prompt, as the transformer reads it. Raises ModelMissing."""
    transformer = find_layout(root).transformer
    if transformer.is_dir():
        config = json.loads((transformer / "config.json").read_text(encoding="utf-8"))
        return int(config["joint_attention_dim"])
    widths = [shape[1] for name, shape in _shapes(transformer).items() if name.endswith("txt_in.weight")]
    if not widths:
        raise ModelMissing(f"{transformer} is not a transformer of FLUX.2")
    return widths[0]
