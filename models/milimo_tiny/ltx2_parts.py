"""The parts of the tiny LTX-2: the real architectures with small widths and the sizes that their neighbours expect.

Import this module only after `milimo_runtime.vision_ops.prepare_torchvision`: the models' libraries load torchvision.
"""

from __future__ import annotations

from typing import Any

from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, GenerationConfig

from milimo_tiny.gemma_tokenizer import (
    BEGIN_OF_IMAGE,
    BEGIN_OF_TEXT,
    END_OF_IMAGE,
    END_OF_TEXT,
    END_OF_TURN,
    IMAGE,
    PADDING,
    VOCABULARY_SIZE,
)

_TEXT_WIDTH = 64
_TEXT_LAYERS = 4


def transformer() -> LTX2VideoTransformer3DModel:
    return LTX2VideoTransformer3DModel(
        in_channels=128,
        out_channels=128,
        num_attention_heads=4,
        attention_head_dim=32,
        cross_attention_dim=128,
        audio_in_channels=32,
        audio_out_channels=32,
        audio_num_attention_heads=4,
        audio_attention_head_dim=16,
        audio_cross_attention_dim=64,
        num_layers=4,
        caption_channels=_TEXT_WIDTH,
        rope_type="split",
    )


def connectors() -> Any:
    return LTX2TextConnectors(
        caption_channels=_TEXT_WIDTH,
        text_proj_in_factor=_TEXT_LAYERS + 1,  # the embedding layer counts
        video_connector_num_attention_heads=4,
        video_connector_attention_head_dim=16,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=128,
        audio_connector_num_attention_heads=4,
        audio_connector_attention_head_dim=16,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=128,
        rope_type="split",
    )


def video_vae() -> Any:
    vae: Any = AutoencoderKLLTX2Video(
        latent_channels=128,
        block_out_channels=(32, 64, 128, 256),
        decoder_block_out_channels=(32, 64, 128),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        # As in the real checkpoint: the encoder is causal, the decoder sees both neighbours.
        encoder_causal=True,
        decoder_causal=False,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    # Not the identity, so that a forgotten (de)normalisation shows.
    vae.latents_mean.normal_(0.0, 0.1)
    vae.latents_std.uniform_(0.8, 1.2)
    return vae


def audio_vae() -> AutoencoderKLLTX2Audio:
    return AutoencoderKLLTX2Audio(base_channels=32, latent_channels=8, mel_bins=16, num_res_blocks=1)


def vocoder() -> Any:
    return LTX2Vocoder(in_channels=32, hidden_channels=64)


def spatial_upsampler() -> Any:
    return LTX2LatentUpsamplerModel(
        in_channels=128, mid_channels=64, num_blocks_per_stage=1, use_rational_resampler=False
    )


def temporal_upsampler() -> Any:
    return LTX2LatentUpsamplerModel(
        in_channels=128, mid_channels=64, num_blocks_per_stage=1, spatial_upsample=False, temporal_upsample=True
    )


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    # The values of the official checkpoint; the engine replaces the shifting ones, see its `sigmas` module.
    return FlowMatchEulerDiscreteScheduler(
        base_image_seq_len=1024,
        max_image_seq_len=4096,
        base_shift=0.95,
        max_shift=2.05,
        use_dynamic_shifting=True,
        shift_terminal=0.1,
    )


def text_encoder() -> Gemma3ForConditionalGeneration:
    config = Gemma3Config(
        text_config={
            "vocab_size": VOCABULARY_SIZE,
            "hidden_size": _TEXT_WIDTH,
            "intermediate_size": 2 * _TEXT_WIDTH,
            "num_hidden_layers": _TEXT_LAYERS,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 32768,
            "sliding_window": 1024,
            "query_pre_attn_scalar": 16,
            "pad_token_id": PADDING.id,
            "bos_token_id": BEGIN_OF_TEXT.id,
            "eos_token_id": END_OF_TEXT.id,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        mm_tokens_per_image=4,
        boi_token_index=BEGIN_OF_IMAGE.id,
        eoi_token_index=END_OF_IMAGE.id,
        image_token_index=IMAGE.id,
    )
    model = Gemma3ForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        pad_token_id=PADDING.id,
        bos_token_id=BEGIN_OF_TEXT.id,
        eos_token_id=[END_OF_TEXT.id, END_OF_TURN.id],
    )
    return model
