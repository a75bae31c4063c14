"""The parts of the shapes' LTX-2 beside its video autoencoder: the classes of the real one, small.

Import this module only after `milimo_runtime.vision_ops.prepare_torchvision`: the models' libraries load torchvision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from diffusers import AutoencoderKLLTX2Audio, LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
from milimo_tiny.gemma_tokenizer import (
    BEGIN_OF_IMAGE,
    BEGIN_OF_TEXT,
    END_OF_IMAGE,
    END_OF_TEXT,
    END_OF_TURN,
    IMAGE,
    PADDING,
    build_tokenizer,
)
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, GenerationConfig

from milimo_shapes.captions import sentences_of_words
from milimo_shapes.video_autoencoder import LATENT_CHANNELS, SPATIAL_COMPRESSION, TEMPORAL_COMPRESSION

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY_SIZE: Final = 1024
_TEXT_WIDTH: Final = 96
_TEXT_LAYERS: Final = 2
_WIDTH: Final = 192
_AUDIO_WIDTH: Final = 48
_WORDS_SHARPNESS: Final = 2.0


def caption_tokenizer() -> PreTrainedTokenizerFast:
    """The tiny family's tokenizer, taught the words of captions: one token each. Anything else falls back to bytes."""
    tokenizer: PreTrainedTokenizerFast = build_tokenizer().train_new_from_iterator(
        sentences_of_words(), VOCABULARY_SIZE, show_progress=False
    )
    tokenizer.padding_side = "left"
    return tokenizer


def text_encoder() -> Any:
    """A Gemma 3 of two narrow layers. It reads captions; what it would write means nothing."""
    model: Any = Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config={
                "vocab_size": VOCABULARY_SIZE,
                "hidden_size": _TEXT_WIDTH,
                "intermediate_size": 2 * _TEXT_WIDTH,
                "num_hidden_layers": _TEXT_LAYERS,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 24,
                "max_position_embeddings": 32768,
                "sliding_window": 1024,
                "query_pre_attn_scalar": 24,
                "pad_token_id": PADDING.id,
                "bos_token_id": BEGIN_OF_TEXT.id,
                "eos_token_id": END_OF_TEXT.id,
            },
            vision_config={
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 28,
                "patch_size": 14,
            },
            mm_tokens_per_image=4,
            boi_token_index=BEGIN_OF_IMAGE.id,
            eoi_token_index=END_OF_IMAGE.id,
            image_token_index=IMAGE.id,
        )
    )
    model.generation_config = GenerationConfig(
        pad_token_id=PADDING.id, bos_token_id=BEGIN_OF_TEXT.id, eos_token_id=[END_OF_TEXT.id, END_OF_TURN.id]
    )
    return model


def connectors() -> Any:
    """The connectors, without registers in place of padding and without a bias on queries: see `prompts`."""
    model: Any = LTX2TextConnectors(
        caption_channels=_TEXT_WIDTH,
        text_proj_in_factor=_TEXT_LAYERS + 1,  # the embedding layer counts
        video_connector_num_attention_heads=4,
        video_connector_attention_head_dim=24,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=None,
        audio_connector_num_attention_heads=4,
        audio_connector_attention_head_dim=24,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=None,
        rope_type="split",
    )
    with torch.no_grad():
        for connector in (model.video_connector, model.audio_connector):
            connector.transformer_blocks[0].attn1.to_q.bias.zero_()
    return model


def transformer() -> Any:
    """The transformer, whose audio stays noise that nothing hears: neither the video nor, past the vocoder, anyone.

    Positions are pixels of 512 and seconds of 10, and frequencies go up to half a turn from latent to latent.
    """
    model: Any = LTX2VideoTransformer3DModel(
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_attention_heads=6,
        attention_head_dim=32,
        cross_attention_dim=_WIDTH,
        vae_scale_factors=(TEMPORAL_COMPRESSION, SPATIAL_COMPRESSION, SPATIAL_COMPRESSION),
        pos_embed_max_pos=10,
        base_height=512,
        base_width=512,
        audio_in_channels=8,
        audio_out_channels=8,
        # As many as the video has: both share positions where they attend to each other.
        audio_num_attention_heads=6,
        audio_attention_head_dim=8,
        audio_cross_attention_dim=_AUDIO_WIDTH,
        audio_pos_embed_max_pos=10,
        num_layers=6,
        caption_channels=_TEXT_WIDTH,
        rope_theta=32.0,
        rope_type="split",
    )
    with torch.no_grad():
        model.audio_proj_out.weight.zero_()
        model.audio_proj_out.bias.zero_()
        for block in model.transformer_blocks:
            # A caption's padding counts a thousand times: words must be able to be heard beside it.
            block.attn2.norm_q.weight.fill_(_WORDS_SHARPNESS)
            block.attn2.norm_k.weight.fill_(_WORDS_SHARPNESS)
            block.audio_to_video_attn.to_out[0].weight.zero_()
            block.audio_to_video_attn.to_out[0].bias.zero_()
    return model


def audio_vae() -> Any:
    # Its normalisation has one value per base channel, for channels × mel bins / 4 of a latent.
    return AutoencoderKLLTX2Audio(base_channels=8, latent_channels=2, mel_bins=16, num_res_blocks=1)


def vocoder() -> Any:
    """A vocoder that is silent, whatever it gets."""
    model: Any = LTX2Vocoder(in_channels=32, hidden_channels=32)
    with torch.no_grad():
        model.conv_out.weight.zero_()
        model.conv_out.bias.zero_()
    return model


def spatial_upsampler() -> Any:
    return LTX2LatentUpsamplerModel(
        in_channels=LATENT_CHANNELS, mid_channels=64, num_blocks_per_stage=1, use_rational_resampler=False
    )


def temporal_upsampler() -> Any:
    return LTX2LatentUpsamplerModel(
        in_channels=LATENT_CHANNELS,
        mid_channels=64,
        num_blocks_per_stage=1,
        spatial_upsample=False,
        temporal_upsample=True,
    )
