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

from typing import TYPE_CHECKING

from milimo_runtime.vision_ops import prepare_torchvision

from milimo_tiny.flux2_ip_adapter import write_ip_adapter
from milimo_tiny.flux2_native import write_native_autoencoder

if TYPE_CHECKING:
    from pathlib import Path

_TEXT_WIDTH = 16
_TEXT_LAYERS_USED = 3
_LATENT_CHANNELS = 4


def write_flux2(root: Path, seed: int = 0, *, is_distilled: bool = True) -> None:
    """Writes the checkpoint to `root`, which is created. The same seed gives the same files.

    `is_distilled` is what the checkpoint says of itself: the distilled one takes few steps and no guidance.
    """
    prepare_torchvision()
    import torch
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from milimo_tiny.flux2_layout import write_layout
    from milimo_tiny.qwen_tokenizer import END_OF_TURN, build_tokenizer

    root.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
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
                eos_token_id=tokenizer.convert_tokens_to_ids(END_OF_TURN),
                # Wider than the usual 0.02, so that different prompts give visibly different images.
                initializer_range=0.3,
            )
        )
        write_ip_adapter(root, _TEXT_WIDTH)
    transformer.save_pretrained(root / "transformer")
    vae.save_pretrained(root / "vae")
    write_native_autoencoder(root, root / "vae")
    text_encoder.save_pretrained(root / "text_encoder")
    write_layout(root, is_distilled=is_distilled)


def write_flux2_base(root: Path, seed: int = 0) -> None:
    """Writes a checkpoint that says it is not distilled: many steps, with guidance. As `write_flux2` else."""
    write_flux2(root, seed, is_distilled=False)
