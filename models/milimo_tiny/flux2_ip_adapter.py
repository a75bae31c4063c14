"""A tiny IP-Adapter for the tiny FLUX.2 checkpoint, in the published adapters' layout.

ip-adapter.safetensors   proj: the embedding → 4 tokens; norm
image_encoder/           CLIPVisionModelWithProjection, 2 layers
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = "ip-adapter.safetensors"
ENCODER = "image_encoder"
TOKENS = 4
HIDDEN_WIDTH = 16
PROJECTED_WIDTH = 24


def write_ip_adapter(root: Path, token_width: int, *, input_width: int = PROJECTED_WIDTH) -> None:
    """Writes both parts to `root`, with weights from torch's generator as it stands.

    Tokens of `token_width`. With the hidden width as `input_width` the adapter reads the encoder's hidden state.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=HIDDEN_WIDTH,
            intermediate_size=32,
            projection_dim=PROJECTED_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
            # Larger than usual, so that different images give visibly different tokens.
            initializer_factor=4.0,
        )
    ).save_pretrained(root / ENCODER)
    projection = torch.nn.Linear(input_width, TOKENS * token_width)
    norm = torch.nn.LayerNorm(token_width)
    weights = {f"image_proj.proj.{name}": tensor for name, tensor in projection.state_dict().items()}
    weights |= {f"image_proj.norm.{name}": tensor for name, tensor in norm.state_dict().items()}
    save_file(weights, root / WEIGHTS)
