"""`flux-2-klein-9b.safetensors`: the whole transformer in one file, under the names of FLUX.2's own code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from milimo_runtime.errors import ModelMissing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from diffusers import Flux2Transformer2DModel

# Some files have the names of a larger model around them.
_PREFIX = "model.diffusion_model."


def load_native_transformer(path: Path, dtype: torch.dtype) -> Flux2Transformer2DModel:
    """The transformer of the file, on the CPU; its shapes tell the architecture.

    Raises OSError and SafetensorError for a file that cannot be read, ModelMissing for one that holds something else.
    """
    from diffusers import Flux2Transformer2DModel
    from diffusers.loaders.single_file_utils import convert_flux2_transformer_checkpoint_to_diffusers
    from safetensors.torch import load_file

    native = {name.removeprefix(_PREFIX): tensor for name, tensor in load_file(path).items()}
    try:
        config = config_of(native)
        # Copies: in the file, and as a part of a fused matrix, a tensor is aligned as it happens to be.
        weights = {
            name: tensor.to(dtype, copy=True)
            for name, tensor in convert_flux2_transformer_checkpoint_to_diffusers(native).items()
        }
        with torch.device("meta"):
            model: Flux2Transformer2DModel = Flux2Transformer2DModel.from_config(config)
        model.load_state_dict(weights, strict=True, assign=True)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ModelMissing(f"{path} is not a transformer of FLUX.2: {error}") from error
    return model


def config_of(native: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The architecture that weights under native names have by their shapes. Raises KeyError when there is none.

    The positions' four axes share the width of a head equally, as in all models of FLUX.2.
    """
    width, channels = native["img_in.weight"].shape
    head = native["single_blocks.0.norm.query_norm.scale"].shape[0]
    return {
        "in_channels": channels,
        "num_layers": _blocks(native, "double_blocks.{}.img_attn.qkv.weight"),
        "num_single_layers": _blocks(native, "single_blocks.{}.linear1.weight"),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": native["txt_in.weight"].shape[1],
        "timestep_guidance_channels": native["time_in.in_layer.weight"].shape[1],
        "mlp_ratio": native["double_blocks.0.img_mlp.2.weight"].shape[1] / width,
        "axes_dims_rope": (head // 4,) * 4,
        "guidance_embeds": "guidance_in.in_layer.weight" in native,
    }


def _blocks(native: Mapping[str, torch.Tensor], name: str) -> int:
    count = 0
    while name.format(count) in native:
        count += 1
    return count
