"""A tiny FLUX.2 klein checkpoint: the real architecture and folder layout with small random weights.

model_index.json   is_distilled
transformer/       Flux2Transformer2DModel, 1 double + 1 single block
vae/               AutoencoderKLFlux2, 8 × 8 pixels per latent as the real one
ae.safetensors     the same weights by the names of FLUX.2's own code
text_encoder/      Qwen3ForCausalLM, 4 layers, of which the first three are used (layers 1, 2, 3)
tokenizer/         Qwen2TokenizerFast, byte-level BPE with Qwen3's chat template
image_encoder/     CLIP's vision part for the IP-Adapter, ip-adapter.safetensors, with tokens as wide as a text layer
scheduler/         FlowMatchEulerDiscreteScheduler with FLUX.2's shifts
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from milimo_runtime.vision_ops import prepare_torchvision

from milimo_tiny.flux2_ip_adapter import write_ip_adapter
from milimo_tiny.flux2_native import write_native_autoencoder
from milimo_tiny.vocabulary import byte_level_bpe

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import Qwen2TokenizerFast

_SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")

# What Qwen3's own template does with plain conversations.
_CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}"
    "{%- endif %}"
    "{%- endif %}"
)

_TEXT_WIDTH = 16
_TEXT_LAYERS_USED = 3
_LATENT_CHANNELS = 4


def write_flux2(root: Path, seed: int = 0, *, is_distilled: bool = True) -> None:
    """Writes the checkpoint to `root`, which is created. The same seed gives the same files.

    `is_distilled` is what the checkpoint says of itself: the distilled one takes few steps and no guidance.
    """
    prepare_torchvision()
    import diffusers
    import torch
    from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
    from transformers import Qwen3Config, Qwen3ForCausalLM

    root.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(root / "tokenizer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = Flux2Transformer2DModel(
            in_channels=4 * _LATENT_CHANNELS,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=_TEXT_LAYERS_USED * _TEXT_WIDTH,
            timestep_guidance_channels=16,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        )
        vae = AutoencoderKLFlux2(
            block_out_channels=(4, 4, 4, 4),
            layers_per_block=1,
            latent_channels=_LATENT_CHANNELS,
            norm_num_groups=1,
            # Side of a tile, in pixels, when large images are decoded in tiles.
            sample_size=256,
        )
        # The statistics that latents are normalised with; neutral ones would hide a forgotten normalisation.
        vae.bn.running_mean.normal_(0.0, 0.1)
        vae.bn.running_var.uniform_(0.5, 2.0)
        text_encoder = Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=len(tokenizer),
                hidden_size=_TEXT_WIDTH,
                intermediate_size=32,
                num_hidden_layers=_TEXT_LAYERS_USED + 1,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=8,
                max_position_embeddings=1024,
                tie_word_embeddings=False,
                pad_token_id=tokenizer.pad_token_id,
                bos_token_id=None,
                eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
                # Wider than the usual 0.02, so that different prompts give visibly different images.
                initializer_range=0.3,
            )
        )
        write_ip_adapter(root, _TEXT_WIDTH)
    transformer.save_pretrained(root / "transformer")
    vae.save_pretrained(root / "vae")
    write_native_autoencoder(root, root / "vae")
    text_encoder.save_pretrained(root / "text_encoder")
    FlowMatchEulerDiscreteScheduler(
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    ).save_pretrained(root / "scheduler")
    index: dict[str, Any] = {
        "_class_name": "Flux2KleinPipeline",
        "_diffusers_version": diffusers.__version__,
        "is_distilled": is_distilled,
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3ForCausalLM"],
        "tokenizer": ["transformers", "Qwen2TokenizerFast"],
        "transformer": ["diffusers", "Flux2Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKLFlux2"],
    }
    (root / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def write_flux2_base(root: Path, seed: int = 0) -> None:
    """Writes a checkpoint that says it is not distilled: many steps, with guidance. As `write_flux2` else."""
    write_flux2(root, seed, is_distilled=False)


def _tokenizer() -> Qwen2TokenizerFast:
    from transformers import Qwen2TokenizerFast

    vocabulary, merges = byte_level_bpe(size=512)
    for token in _SPECIAL_TOKENS:
        vocabulary[token] = len(vocabulary)
    tokenizer = Qwen2TokenizerFast(
        vocab=vocabulary,
        merges=merges,
        pad_token="<|endoftext|>",  # noqa: S106 - a token of the vocabulary
        eos_token="<|im_end|>",  # noqa: S106 - a token of the vocabulary
        model_max_length=1024,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer
