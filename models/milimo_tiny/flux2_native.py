"""The tiny FLUX.2 checkpoint under the names that FLUX.2's own code uses, with the same weights.

ae.safetensors                   the autoencoder
flux-2-klein-9b.safetensors      the transformer, in one file
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import torch

AUTOENCODER = "ae.safetensors"
TRANSFORMER = "flux-2-klein-9b.safetensors"

_WHOLE = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "time_guidance_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_guidance_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "double_stream_modulation_img.linear": "double_stream_modulation_img.lin",
    "double_stream_modulation_txt.linear": "double_stream_modulation_txt.lin",
    "single_stream_modulation.linear": "single_stream_modulation.lin",
    "proj_out": "final_layer.linear",
}
_DOUBLE = {
    "attn.norm_q": "img_attn.norm.query_norm",
    "attn.norm_k": "img_attn.norm.key_norm",
    "attn.to_out.0": "img_attn.proj",
    "ff.linear_in": "img_mlp.0",
    "ff.linear_out": "img_mlp.2",
    "attn.norm_added_q": "txt_attn.norm.query_norm",
    "attn.norm_added_k": "txt_attn.norm.key_norm",
    "attn.to_add_out": "txt_attn.proj",
    "ff_context.linear_in": "txt_mlp.0",
    "ff_context.linear_out": "txt_mlp.2",
}
_SINGLE = {
    "attn.to_qkv_mlp_proj": "linear1",
    "attn.to_out": "linear2",
    "attn.norm_q": "norm.query_norm",
    "attn.norm_k": "norm.key_norm",
}
_FUSED = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}


def write_native_autoencoder(root: Path, folder: Path) -> None:
    """Writes `ae.safetensors` to `root` with the weights of diffusers' autoencoder in `folder`."""
    from safetensors.torch import load_file, save_file

    save_file(native_autoencoder(load_file(folder / "diffusion_pytorch_model.safetensors")), root / AUTOENCODER)


def write_native_transformer(root: Path, folder: Path) -> None:
    """Writes the single file to `root` with the weights of diffusers' transformer in `folder`."""
    from safetensors.torch import load_file, save_file

    save_file(native_transformer(load_file(folder / "diffusion_pytorch_model.safetensors")), root / TRANSFORMER)


def native_autoencoder(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The autoencoder's weights by their native names."""
    blocks = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("decoder.up_blocks."))
    result = {}
    for name, tensor in weights.items():
        first, _, rest = name.partition(".")
        if first == "quant_conv":
            native = f"encoder.quant_conv.{rest}"
        elif first == "post_quant_conv":
            native = f"decoder.post_quant_conv.{rest}"
        elif first == "bn":
            native = name
        else:
            native = f"{first}.{_coder_name(rest, blocks)}"
        is_attention = ".attentions." in name and "group_norm" not in name and name.endswith(".weight")
        # There the attention consists of 1 × 1 convolutions.
        result[native] = (tensor[:, :, None, None] if is_attention else tensor).contiguous()
    return result


def _coder_name(rest: str, blocks: int) -> str:
    """The native name of a weight of the encoder or the decoder."""
    parts = rest.split(".")
    if parts[0] == "conv_norm_out":
        return f"norm_out.{parts[1]}"
    if parts[0] == "mid_block" and parts[1] == "attentions":
        names = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out"}
        return f"mid.attn_1.{names[parts[3]]}.{parts[-1]}"
    if parts[0] == "mid_block":
        return f"mid.block_{int(parts[2]) + 1}.{_block_part(parts[3])}.{parts[-1]}"
    if parts[0] in ("down_blocks", "up_blocks"):
        side = parts[0].removesuffix("_blocks")
        # The native decoder counts its blocks from its end.
        index = int(parts[1]) if side == "down" else blocks - 1 - int(parts[1])
        if parts[2] == "resnets":
            return f"{side}.{index}.block.{parts[3]}.{_block_part(parts[4])}.{parts[-1]}"
        return f"{side}.{index}.{side}sample.conv.{parts[-1]}"
    return rest


def _block_part(part: str) -> str:
    return "nin_shortcut" if part == "conv_shortcut" else part


def native_transformer(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The transformer's weights by their native names: queries, keys and values in one matrix."""
    import torch

    left = dict(weights)
    result: dict[str, torch.Tensor] = {}
    for name, native in _WHOLE.items():
        result[f"{native}.weight"] = left.pop(f"{name}.weight")
    # Scale and shift stand the other way round there.
    scale, shift = left.pop("norm_out.linear.weight").chunk(2)
    result["final_layer.adaLN_modulation.1.weight"] = torch.cat([shift, scale])
    for blocks, native_blocks, parts in (
        ("transformer_blocks", "double_blocks", _DOUBLE),
        ("single_transformer_blocks", "single_blocks", _SINGLE),
    ):
        count = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith(f"{blocks}."))
        for index in range(count):
            for name, native in parts.items():
                suffix = "scale" if "norm" in native else "weight"
                result[f"{native_blocks}.{index}.{native}.{suffix}"] = left.pop(f"{blocks}.{index}.{name}.weight")
            if blocks == "transformer_blocks":
                for native, names in _FUSED.items():
                    fused = [left.pop(f"{blocks}.{index}.{name}.weight") for name in names]
                    result[f"{native_blocks}.{index}.{native}.weight"] = torch.cat(fused)
    if left:
        raise ValueError(f"weights without a native name: {sorted(left)}")
    return {name: tensor.contiguous() for name, tensor in result.items()}
