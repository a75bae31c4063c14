"""What diffusers needs to know to build the parts of an official file: read from its metadata and from its shapes.

The file's metadata hold, under "config", how the official code configures each part. What they do not say is as in
LTX-2 19B. Numbers that the shapes show are taken from the shapes. Pure.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from milimo_runtime.errors import ModelMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from milimo_video.safetensors_header import Header

_PREFIX: Final = "model.diffusion_model."
# Official → diffusers' names of values that are the same in both.
_TRANSFORMER: Final = {
    "num_attention_heads": "num_attention_heads",
    "attention_head_dim": "attention_head_dim",
    "in_channels": "in_channels",
    "out_channels": "out_channels",
    "cross_attention_dim": "cross_attention_dim",
    "norm_eps": "norm_eps",
    "positional_embedding_theta": "rope_theta",
    "timestep_scale_multiplier": "timestep_scale_multiplier",
    "av_ca_timestep_scale_multiplier": "cross_attn_timestep_scale_multiplier",
    "audio_num_attention_heads": "audio_num_attention_heads",
    "audio_attention_head_dim": "audio_attention_head_dim",
    "audio_in_channels": "audio_in_channels",
    "audio_out_channels": "audio_out_channels",
    "audio_cross_attention_dim": "audio_cross_attention_dim",
}
_VOCODER: Final = {
    "upsample_initial_channel": "hidden_channels",
    "upsample_kernel_sizes": "upsample_kernel_sizes",
    "upsample_rates": "upsample_factors",
    "resblock_kernel_sizes": "resnet_kernel_sizes",
    "resblock_dilation_sizes": "resnet_dilations",
    "output_sampling_rate": "output_sampling_rate",
}
_AUDIO: Final = {
    "ch": "base_channels",
    "out_ch": "output_channels",
    "ch_mult": "ch_mult",
    "num_res_blocks": "num_res_blocks",
    "in_channels": "in_channels",
    "resolution": "resolution",
    "z_channels": "latent_channels",
    "norm_type": "norm_type",
    "causality_axis": "causality_axis",
    "dropout": "dropout",
    "mid_block_add_attention": "mid_block_add_attention",
    "double_z": "double_z",
    "mel_bins": "mel_bins",
}


def part_config(header: Header, part: str) -> dict[str, Any]:
    """Arguments of diffusers' class for `part`, a folder of its layout, of an official file with this head.

    Raises `ModelMissing` for metadata that are not JSON or weights that are not LTX-2's.
    """
    return _OF_PART[part](header, _metadata(header))


def upsampler_config(header: Header) -> dict[str, Any]:
    """Arguments of diffusers' class for the upsampler in an official file, spatial or temporal."""
    config = _metadata(header)
    shape = header.tensors["initial_conv.weight"].shape
    outputs = header.tensors["upsampler.0.weight"].shape
    # Its factor is 2: four times the channels are two pixels each way, twice as many are two frames.
    temporal = len(outputs) == 5 and outputs[0] == 2 * outputs[1]
    return {
        "dims": len(shape) - 2,
        "in_channels": shape[1],
        "mid_channels": shape[0],
        "num_blocks_per_stage": _count(header, r"res_blocks\.(\d+)\."),
        "spatial_upsample": not temporal,
        "temporal_upsample": temporal,
        "use_rational_resampler": bool(config.get("rational_resampler", False)),
    }


def _metadata(header: Header) -> dict[str, Any]:
    try:
        config = json.loads(header.metadata.get("config", "{}"))
    except ValueError as error:
        raise ModelMissing("the checkpoint's metadata are damaged: its config is not JSON") from error
    return config if isinstance(config, dict) else {}


def _transformer(header: Header, config: Mapping[str, Any]) -> dict[str, Any]:
    given = config.get("transformer", {})
    where = given.get("positional_embedding_max_pos", [20, 2048, 2048])
    return {
        **_same(given, _TRANSFORMER),
        **_rope(given),
        "num_layers": _count(header, re.escape(_PREFIX) + r"transformer_blocks\.(\d+)\."),
        "caption_channels": header.tensors[f"{_PREFIX}caption_projection.linear_1.weight"].shape[1],
        "pos_embed_max_pos": where[0],
        "base_height": where[1],
        "base_width": where[2],
        "audio_pos_embed_max_pos": given.get("audio_positional_embedding_max_pos", [20])[0],
    }


def _connectors(header: Header, config: Mapping[str, Any]) -> dict[str, Any]:
    given = config.get("transformer", {})
    outputs, inputs = header.tensors["text_embedding_projection.aggregate_embed.weight"].shape
    heads = given.get("connector_num_attention_heads", 30)
    width = given.get("connector_attention_head_dim", 128)
    found: dict[str, Any] = {
        **_rope(given),
        "caption_channels": outputs,
        "text_proj_in_factor": inputs // outputs,
        "connector_rope_base_seq_len": given.get("connector_positional_embedding_max_pos", [4096])[0],
        "rope_theta": given.get("positional_embedding_theta", 10000.0),
    }
    for part in ("video", "audio"):
        inner = f"{_PREFIX}{part}_embeddings_connector."
        prefix = "audio_connector_" if part == "audio" else "connector_"
        found |= {
            f"{part}_connector_num_attention_heads": given.get(f"{prefix}num_attention_heads", heads),
            f"{part}_connector_attention_head_dim": given.get(f"{prefix}attention_head_dim", width),
            f"{part}_connector_num_layers": _count(header, re.escape(inner) + r"transformer_1d_blocks\.(\d+)\."),
            f"{part}_connector_num_learnable_registers": header.tensors[f"{inner}learnable_registers"].shape[0],
        }
    return found


def _video(header: Header, config: Mapping[str, Any]) -> dict[str, Any]:
    given = config.get("vae", {})

    def width(name: str) -> int:
        return header.tensors[f"vae.{name}.res_blocks.0.conv1.conv.weight"].shape[0]

    def layers(name: str) -> int:
        return _count(header, rf"vae\.{name}\.res_blocks\.(\d+)\.")

    # Levels stand at even places; between them is what resamples. The decoder begins with the coarsest.
    down = [f"encoder.down_blocks.{2 * level}" for level in range(5)]
    up = [f"decoder.up_blocks.{2 * level}" for level in range(4)]
    return {
        "latent_channels": given.get("latent_channels", 128),
        "patch_size": given.get("patch_size", 4),
        # diffusers counts the widths behind a change of size, and before one.
        "block_out_channels": tuple(width(name) for name in down[1:]),
        "layers_per_block": tuple(layers(name) for name in down),
        "decoder_block_out_channels": tuple(width(name) for name in reversed(up[:3])),
        "decoder_layers_per_block": tuple(layers(name) for name in reversed(up)),
        "timestep_conditioning": given.get("timestep_conditioning", False),
        "encoder_causal": True,
        "decoder_causal": given.get("causal_decoder", False),
        "encoder_spatial_padding_mode": given.get("encoder_spatial_padding_mode", "zeros"),
        "decoder_spatial_padding_mode": given.get("spatial_padding_mode", "reflect"),
        "spatial_compression_ratio": 32,
        "temporal_compression_ratio": 8,
    }


def _audio(header: Header, config: Mapping[str, Any]) -> dict[str, Any]:
    given = config.get("audio_vae", {})
    params = given.get("model", {}).get("params", {})
    stft = given.get("preprocessing", {}).get("stft", {})
    found = _same(params.get("ddconfig", {}), _AUDIO)
    found["attn_resolutions"] = params.get("ddconfig", {}).get("attn_resolutions") or None
    found |= {"sample_rate": params.get("sampling_rate", 16000), "mel_hop_length": stft.get("hop_length", 160)}
    return found | {"is_causal": stft.get("causal", True)}


def _vocoder(header: Header, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **_same(config.get("vocoder", {}), _VOCODER),
        "in_channels": header.tensors["vocoder.conv_pre.weight"].shape[1],
        "hidden_channels": header.tensors["vocoder.conv_pre.weight"].shape[0],
    }


def _rope(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "rope_type": given.get("rope_type", "split"),
        "rope_double_precision": given.get("frequencies_precision", "float64") == "float64",
    }


def _same(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {ours: given[theirs] for theirs, ours in names.items() if given.get(theirs) is not None}


def _count(header: Header, pattern: str) -> int:
    """How many there are of what `pattern` numbers."""
    found = {int(match.group(1)) for name in header.tensors if (match := re.match(pattern, name))}
    return max(found, default=-1) + 1


_OF_PART: Final[Mapping[str, Callable[[Header, Mapping[str, Any]], dict[str, Any]]]] = {
    "transformer": _transformer,
    "connectors": _connectors,
    "vae": _video,
    "audio_vae": _audio,
    "vocoder": _vocoder,
}
