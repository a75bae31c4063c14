"""How the official code names the weights of LTX-2, and how diffusers does.

An official file holds every part but the text encoder, each below a prefix of its own. Renaming is by pieces of the
names, in order; what a table drops has no use here. Pure: names only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TRANSFORMER_PREFIX: Final = "model.diffusion_model."
_CONNECTORS: Final = ("video_embeddings_connector.", "audio_embeddings_connector.")
_PROJECTION: Final = "text_embedding_projection."

_ATTENTION: Final = (("q_norm", "norm_q"), ("k_norm", "norm_k"))
_TRANSFORMER: Final = (
    ("av_ca_video_scale_shift_adaln_single", "av_cross_attn_video_scale_shift"),
    ("av_ca_a2v_gate_adaln_single", "av_cross_attn_video_a2v_gate"),
    ("av_ca_audio_scale_shift_adaln_single", "av_cross_attn_audio_scale_shift"),
    ("av_ca_v2a_gate_adaln_single", "av_cross_attn_audio_v2a_gate"),
    ("scale_shift_table_a2v_ca_video", "video_a2v_cross_attn_scale_shift_table"),
    ("scale_shift_table_a2v_ca_audio", "audio_a2v_cross_attn_scale_shift_table"),
    ("patchify_proj", "proj_in"),
    ("adaln_single", "time_embed"),
    *_ATTENTION,
)
_CONNECTOR: Final = (
    ("video_embeddings_connector", "video_connector"),
    ("audio_embeddings_connector", "audio_connector"),
    ("transformer_1d_blocks", "transformer_blocks"),
    ("aggregate_embed", "text_proj_in"),
    *_ATTENTION,
)
_STATISTICS: Final = (
    ("per_channel_statistics.mean-of-means", "latents_mean"),
    ("per_channel_statistics.std-of-means", "latents_std"),
)
# The official code counts levels and what resamples between them in one list.
_VIDEO_LEVELS: Final = (
    *((f"down_blocks.{2 * level + 1}.", f"down_blocks.{level}.downsamplers.0.") for level in range(4)),
    *((f"down_blocks.{2 * level}.", f"down_blocks.{level}.") for level in range(4)),
    ("down_blocks.8.", "mid_block."),
    ("up_blocks.0.", "mid_block."),
    *((f"up_blocks.{2 * level + 1}.", f"up_blocks.{level}.upsamplers.0.") for level in range(3)),
    *((f"up_blocks.{2 * level + 2}.", f"up_blocks.{level}.") for level in range(3)),
)
_VIDEO: Final = (("res_blocks", "resnets"), *_STATISTICS)
_VOCODER: Final = (
    ("conv_pre", "conv_in"),
    ("conv_post", "conv_out"),
    ("resblocks", "resnets"),
    ("ups.", "upsamplers."),
)


def transformer_name(name: str) -> str:
    """diffusers' name of a weight of the transformer, given the official one without its prefix."""
    return _renamed(name, _TRANSFORMER)


def connectors_name(name: str) -> str:
    """diffusers' name of a weight of the text connectors, given the official one without its prefix."""
    return _renamed(name, _CONNECTOR)


def part_names(names: Sequence[str], part: str) -> Mapping[str, str]:
    """Official → diffusers' names of all weights of `part` among the names in an official file.

    `part` is a folder of diffusers' layout: "transformer", "connectors", "vae", "audio_vae" or "vocoder". A weight's
    scales in an fp8 file are named after its layer and go with it.
    """
    found: dict[str, str] = {}
    for name in names:
        renamed = _part_name(name, part)
        if renamed is not None:
            found[name] = renamed
    return found


def _part_name(name: str, part: str) -> str | None:
    inner = name.removeprefix(TRANSFORMER_PREFIX) if name.startswith(TRANSFORMER_PREFIX) else None
    of_connectors = inner is not None and inner.startswith(_CONNECTORS)
    if part == "transformer":
        return None if inner is None or of_connectors else transformer_name(inner)
    if part == "connectors":
        if name.startswith(_PROJECTION):
            return connectors_name(name.removeprefix(_PROJECTION))
        return connectors_name(inner) if inner is not None and of_connectors else None
    if not name.startswith(f"{part}."):
        return None
    inner = name.removeprefix(f"{part}.")
    if part == "vocoder":
        return _renamed(inner, _VOCODER)
    if "per_channel_statistics." in inner and not any(old in inner for old, _ in _STATISTICS):
        # Statistics of the statistics, which nothing reads.
        return None
    if part == "audio_vae":
        return _renamed(inner, _STATISTICS)
    for old, new in _VIDEO_LEVELS:
        if old in inner:
            inner = inner.replace(old, new)
            break
    return _renamed(inner, _VIDEO)


def _renamed(name: str, table: Sequence[tuple[str, str]]) -> str:
    for old, new in table:
        name = name.replace(old, new)
    return name
