"""`ae.safetensors`: FLUX.2's autoencoder under the names of its own code, read into diffusers' class."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import torch
from milimo_runtime.errors import ModelMissing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from diffusers import AutoencoderKLFlux2

# From the native names to diffusers', in this order.
_RENAMED: Final = (
    (r"^encoder\.quant_conv\.", "quant_conv."),
    (r"^decoder\.post_quant_conv\.", "post_quant_conv."),
    (r"\.norm_out\.", ".conv_norm_out."),
    (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
    (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.down\.(\d+)\.block\.", r".down_blocks.\1.resnets."),
    (r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.up\.(\d+)\.block\.", r".up_blocks.\1.resnets."),
    (r"\.up\.(\d+)\.upsample\.", r".up_blocks.\1.upsamplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
)
_UP_BLOCK: Final = re.compile(r"\.up_blocks\.(\d+)\.")
_NORM_GROUPS: Final = 32
_BATCHES: Final = "bn.num_batches_tracked"


def load_native_autoencoder(path: Path, config: Path, dtype: torch.dtype) -> AutoencoderKLFlux2:
    """The autoencoder of the file, on the CPU.

    `config` is that of diffusers' folder, which knows the groups of the norms; without it the shapes tell the rest.
    Raises OSError and SafetensorError for a file that cannot be read, ModelMissing for one that holds something else.
    """
    from diffusers import AutoencoderKLFlux2
    from safetensors.torch import load_file

    weights = {
        # Copies: in the file a tensor is aligned as it happens to be.
        name: tensor.to(dtype if tensor.is_floating_point() else tensor.dtype, copy=True)
        for name, tensor in diffusers_weights(load_file(path)).items()
    }
    try:
        settings = AutoencoderKLFlux2.load_config(config) if config.is_file() else config_of(weights)
        with torch.device("meta"):
            model: AutoencoderKLFlux2 = AutoencoderKLFlux2.from_config(settings)
        model.load_state_dict(weights, strict=True, assign=True)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ModelMissing(f"{path} is not the native autoencoder of FLUX.2: {error}") from error
    return model


def diffusers_weights(native: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The native weights under diffusers' names: 1 × 1 convolutions of the attention are linear layers there, and the
    decoder's blocks are counted from the other end.
    """
    blocks = 1 + max((int(found[1]) for name in native if (found := re.search(r"\.up\.(\d+)\.", name))), default=0)
    weights = {}
    for native_name, tensor in native.items():
        name = native_name
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        name = _UP_BLOCK.sub(lambda found: f".up_blocks.{blocks - 1 - int(found[1])}.", name)
        is_linear = ".attentions." in name and tensor.ndim > 2
        weights[name] = tensor.flatten(1) if is_linear else tensor
    # A counter of the training, which not every file has.
    weights.setdefault(_BATCHES, torch.tensor(0))
    return weights


def config_of(weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The architecture that weights under diffusers' names have by their shapes.

    Norms have 32 groups, or one where the narrowest width does not divide by that. Raises KeyError when there is none.
    """
    widths: list[int] = []
    while (name := f"encoder.down_blocks.{len(widths)}.resnets.0.conv1.weight") in weights:
        widths.append(weights[name].shape[0])
    layers = sum(f"encoder.down_blocks.0.resnets.{index}.conv1.weight" in weights for index in range(16))
    count = len(widths)
    return {
        "in_channels": weights["encoder.conv_in.weight"].shape[1],
        "out_channels": weights["decoder.conv_out.weight"].shape[0],
        "down_block_types": ("DownEncoderBlock2D",) * count,
        "up_block_types": ("UpDecoderBlock2D",) * count,
        "block_out_channels": tuple(widths),
        "layers_per_block": layers,
        "latent_channels": weights["decoder.conv_in.weight"].shape[1],
        "norm_num_groups": _NORM_GROUPS if widths[0] % _NORM_GROUPS == 0 else 1,
    }
