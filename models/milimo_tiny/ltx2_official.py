"""The tiny LTX-2 in the layout in which the real one is published, with the weights of one in diffusers' folders.

models/checkpoints/ltx-2-19b-distilled.safetensors        all parts but the text encoder, configured by its head
models/checkpoints/ltx-2-19b-distilled-fp8.safetensors    the transformer's large layers in fp8, each with its scales
models/upscalers/ltx-2-spatial-upscaler-x2-1.0.safetensors
models/upscalers/ltx-2-temporal-upscaler-x2-1.0.safetensors
models/text_encoders/gemma3/                              transformers' layout with the tokenizer
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Weights = dict[str, torch.Tensor]

CHECKPOINT = "models/checkpoints/ltx-2-19b-distilled.safetensors"
CHECKPOINT_FP8 = "models/checkpoints/ltx-2-19b-distilled-fp8.safetensors"
SPATIAL_UPSCALER = "models/upscalers/ltx-2-spatial-upscaler-x2-1.0.safetensors"
TEMPORAL_UPSCALER = "models/upscalers/ltx-2-temporal-upscaler-x2-1.0.safetensors"
GEMMA = "models/text_encoders/gemma3"

_WEIGHTS = "diffusion_pytorch_model.safetensors"
_TRANSFORMER = "model.diffusion_model."
# diffusers' → official names: the first that a name begins with.
_TRANSFORMER_NAMES = (
    ("proj_in.", "patchify_proj."),
    ("audio_proj_in.", "audio_patchify_proj."),
    ("time_embed.", "adaln_single."),
    ("audio_time_embed.", "audio_adaln_single."),
    ("av_cross_attn_video_scale_shift.", "av_ca_video_scale_shift_adaln_single."),
    ("av_cross_attn_audio_scale_shift.", "av_ca_audio_scale_shift_adaln_single."),
    ("av_cross_attn_video_a2v_gate.", "av_ca_a2v_gate_adaln_single."),
    ("av_cross_attn_audio_v2a_gate.", "av_ca_v2a_gate_adaln_single."),
)
_TABLES = {
    "video_a2v_cross_attn_scale_shift_table": "scale_shift_table_a2v_ca_video",
    "audio_a2v_cross_attn_scale_shift_table": "scale_shift_table_a2v_ca_audio",
}
_CONNECTOR_NAMES = (
    ("text_proj_in.", "text_embedding_projection.aggregate_embed."),
    ("video_connector.", _TRANSFORMER + "video_embeddings_connector."),
    ("audio_connector.", _TRANSFORMER + "audio_embeddings_connector."),
)
_VIDEO_NAMES = (
    *((f"encoder.down_blocks.{n}.downsamplers.0.", f"encoder.down_blocks.{2 * n + 1}.") for n in range(4)),
    *((f"encoder.down_blocks.{n}.", f"encoder.down_blocks.{2 * n}.") for n in range(4)),
    ("encoder.mid_block.", "encoder.down_blocks.8."),
    ("decoder.mid_block.", "decoder.up_blocks.0."),
    *((f"decoder.up_blocks.{n}.upsamplers.0.", f"decoder.up_blocks.{2 * n + 1}.") for n in range(3)),
    *((f"decoder.up_blocks.{n}.", f"decoder.up_blocks.{2 * n + 2}.") for n in range(3)),
)
_VOCODER_NAMES = (("conv_in.", "conv_pre."), ("conv_out.", "conv_post."), ("upsamplers.", "ups."))
_STATISTICS = {
    "latents_mean": "per_channel_statistics.mean-of-means",
    "latents_std": "per_channel_statistics.std-of-means",
}
# Layers that the fp8 checkpoint has in fp8.
_IN_FP8 = (".to_q", ".to_k", ".to_v", ".to_out.0", "ff.net.0.proj", "ff.net.2")


def write_official_layout(root: Path, folders: Path, *, full: bool = True, fp8: bool = False) -> None:
    """Writes the checkpoint of `folders` (diffusers' layout) to `root`: in full precision, in fp8, or in both."""
    weights = _checkpoint(folders)
    metadata = {"config": json.dumps(_config(folders)), "model_version": "2.0"}
    for wanted, name in ((full, CHECKPOINT), (fp8, CHECKPOINT_FP8)):
        if wanted:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            save_file(weights if name == CHECKPOINT else _scaled(weights), root / name, metadata=metadata)
    (root / SPATIAL_UPSCALER).parent.mkdir(parents=True, exist_ok=True)
    for folder, name in (("latent_upsampler", SPATIAL_UPSCALER), ("temporal_upsampler", TEMPORAL_UPSCALER)):
        shutil.copyfile(folders / folder / _WEIGHTS, root / name)
    for folder in ("text_encoder", "tokenizer"):
        shutil.copytree(folders / folder, root / GEMMA, dirs_exist_ok=True)


def _checkpoint(folders: Path) -> Weights:
    def renamed(part: str, names: tuple[tuple[str, str], ...], prefix: str) -> Weights:
        return {prefix + _first(name, names): one for name, one in load_file(folders / part / _WEIGHTS).items()}

    def norms(name: str) -> str:
        return name.replace("norm_q", "q_norm").replace("norm_k", "k_norm")

    found: Weights = {}
    for name, one in renamed("transformer", _TRANSFORMER_NAMES, _TRANSFORMER).items():
        head, _, tail = name.rpartition(".")
        found[norms(f"{head}.{_TABLES.get(tail, tail)}")] = one
    for name, one in renamed("connectors", _CONNECTOR_NAMES, "").items():
        found[norms(name.replace("transformer_blocks", "transformer_1d_blocks"))] = one
    for name, one in renamed("vae", _VIDEO_NAMES, "vae.").items():
        found[_statistics(name.replace("resnets", "res_blocks"), "vae.")] = one
    for name, one in renamed("audio_vae", (), "audio_vae.").items():
        found[_statistics(name, "audio_vae.")] = one
    for name, one in renamed("vocoder", _VOCODER_NAMES, "vocoder.").items():
        found[name.replace("resnets", "resblocks")] = one
    # What the published file has besides, and nothing reads.
    found["vae.per_channel_statistics.mean-of-stds"] = torch.ones(128)
    return found


def _statistics(name: str, prefix: str) -> str:
    inner = name.removeprefix(prefix)
    return prefix + _STATISTICS.get(inner, inner)


def _first(name: str, names: tuple[tuple[str, str], ...]) -> str:
    for ours, theirs in names:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _scaled(weights: Weights) -> Weights:
    largest = torch.finfo(torch.float8_e4m3fn).max
    found: Weights = {}
    for name, one in weights.items():
        layer = name.removesuffix(".weight")
        if layer == name or not layer.startswith(_TRANSFORMER + "transformer_blocks.") or not layer.endswith(_IN_FP8):
            found[name] = one
            continue
        scale = one.float().abs().amax() / largest
        found[name] = (one.float() / scale).clamp(-largest, largest).to(torch.float8_e4m3fn)
        found[f"{layer}.weight_scale"] = scale
        found[f"{layer}.input_scale"] = torch.ones(())
    return found


def _config(folders: Path) -> dict[str, Any]:
    def read(part: str) -> Mapping[str, Any]:
        value = json.loads((folders / part / "config.json").read_text(encoding="utf-8"))
        assert isinstance(value, dict)
        return value

    transformer, connectors, vae, audio, vocoder = map(
        read, ("transformer", "connectors", "vae", "audio_vae", "vocoder")
    )
    return {
        "transformer": {
            **{
                name: transformer[name]
                for name in (
                    "num_attention_heads",
                    "attention_head_dim",
                    "in_channels",
                    "out_channels",
                    "num_layers",
                    "cross_attention_dim",
                    "norm_eps",
                    "caption_channels",
                    "timestep_scale_multiplier",
                    "audio_num_attention_heads",
                    "audio_attention_head_dim",
                    "audio_in_channels",
                    "audio_out_channels",
                    "audio_cross_attention_dim",
                    "rope_type",
                )
            },
            "av_ca_timestep_scale_multiplier": transformer["cross_attn_timestep_scale_multiplier"],
            "positional_embedding_theta": transformer["rope_theta"],
            "positional_embedding_max_pos": [
                transformer["pos_embed_max_pos"],
                transformer["base_height"],
                transformer["base_width"],
            ],
            "audio_positional_embedding_max_pos": [transformer["audio_pos_embed_max_pos"]],
            "frequencies_precision": "float64" if transformer["rope_double_precision"] else "float32",
            "connector_num_attention_heads": connectors["video_connector_num_attention_heads"],
            "connector_attention_head_dim": connectors["video_connector_attention_head_dim"],
            "connector_num_layers": connectors["video_connector_num_layers"],
            "audio_connector_num_attention_heads": connectors["audio_connector_num_attention_heads"],
            "audio_connector_attention_head_dim": connectors["audio_connector_attention_head_dim"],
            "connector_positional_embedding_max_pos": [connectors["connector_rope_base_seq_len"]],
        },
        "vae": {
            "_class_name": "CausalVideoAutoencoder",
            "latent_channels": vae["latent_channels"],
            "patch_size": vae["patch_size"],
            "timestep_conditioning": vae["timestep_conditioning"],
            "causal_decoder": vae["decoder_causal"],
            "spatial_padding_mode": vae["decoder_spatial_padding_mode"],
        },
        "audio_vae": {
            "model": {
                "params": {
                    "sampling_rate": audio["sample_rate"],
                    "ddconfig": {
                        "ch": audio["base_channels"],
                        "out_ch": audio["output_channels"],
                        "ch_mult": audio["ch_mult"],
                        "num_res_blocks": audio["num_res_blocks"],
                        "attn_resolutions": [],
                        "in_channels": audio["in_channels"],
                        "z_channels": audio["latent_channels"],
                        "mel_bins": audio["mel_bins"],
                        "mid_block_add_attention": audio["mid_block_add_attention"],
                    },
                }
            },
            "preprocessing": {"stft": {"hop_length": audio["mel_hop_length"], "causal": audio["is_causal"]}},
        },
        "vocoder": {
            "resblock": "1",
            "stereo": True,
            "upsample_initial_channel": vocoder["hidden_channels"],
            "upsample_rates": vocoder["upsample_factors"],
            "upsample_kernel_sizes": vocoder["upsample_kernel_sizes"],
            "resblock_kernel_sizes": vocoder["resnet_kernel_sizes"],
            "resblock_dilation_sizes": vocoder["resnet_dilations"],
            "output_sampling_rate": vocoder["output_sampling_rate"],
        },
    }
