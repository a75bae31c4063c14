"""The IP-Adapter: an image's CLIP embedding becomes a few tokens beside those of the prompt.

    embedding → Linear → tokens → LayerNorm → the joint width

Widths and the number of tokens are those of the weights, 4 tokens in the published adapters. FLUX.2's joint width is
several layers of its text encoder side by side: tokens as wide as one layer stand in each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from PIL import Image

if TYPE_CHECKING:
    from milimo_runtime.device import Placement
    from transformers import CLIPVisionModelWithProjection

    from milimo_image.ip_adapter_files import IpAdapterFiles

# What CLIP's training normalised pixels with, by channel.
_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION: Final = (0.26862954, 0.26130258, 0.27577711)


class IpAdapter(torch.nn.Module):
    """Image encoder and projection, in evaluation mode."""

    def __init__(
        self,
        encoder: CLIPVisionModelWithProjection,
        projection: torch.nn.Linear,
        norm: torch.nn.LayerNorm,
        *,
        is_projected: bool,
        repeats: int,
    ) -> None:
        """`is_projected`: the projection reads the projected embedding, else the pooled hidden state. `repeats`: of a
        token in the joint width.
        """
        super().__init__()
        self.encoder = encoder
        self.projection = projection
        self.norm = norm
        self._is_projected = is_projected
        self._repeats = repeats

    @property
    def image_side(self) -> int:
        """Pixels of a side of what the encoder sees."""
        return int(self.encoder.config.image_size)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, side, side), normalised → (B, tokens, joint width)."""
        output = self.encoder.vision_model(pixel_values=pixels)
        embedding = output.pooler_output
        if self._is_projected:
            embedding = self.encoder.visual_projection(embedding)
        tokens = self.projection(embedding).unflatten(1, (-1, self.norm.normalized_shape[0]))
        normed: torch.Tensor = self.norm(tokens)
        return normed.repeat(1, 1, self._repeats)


def load_ip_adapter(files: IpAdapterFiles, placement: Placement) -> IpAdapter:
    """The adapter of these files. Raises OSError and SafetensorError for weights that cannot be read."""
    from safetensors.torch import load_file
    from transformers import CLIPVisionModelWithProjection

    dtype = placement.torch_dtype()
    # The same class, told not to report the text part of a whole CLIP.
    vision_encoder: Any = type(
        "VisionEncoder",
        (CLIPVisionModelWithProjection,),
        {"_keys_to_ignore_on_load_unexpected": [r"^text_model\.", r"^text_projection\.", r"^logit_scale"]},
    )
    encoder = vision_encoder.from_pretrained(files.encoder, dtype=dtype, use_safetensors=True, local_files_only=True)
    weights = {
        name.removeprefix(files.prefix): tensor.to(dtype, copy=True)
        for name, tensor in load_file(files.weights).items()
        if name.startswith((f"{files.prefix}proj.", f"{files.prefix}norm."))
    }
    with torch.device("meta"):
        projection = torch.nn.Linear(files.input_width, files.tokens * files.token_width)
        norm = torch.nn.LayerNorm(files.token_width)
    projection.load_state_dict({name: weights[f"proj.{name}"] for name in ("weight", "bias")}, assign=True)
    norm.load_state_dict({name: weights[f"norm.{name}"] for name in ("weight", "bias")}, assign=True)
    adapter = IpAdapter(encoder, projection, norm, is_projected=files.is_projected, repeats=files.repeats)
    return adapter.eval().to(placement.device)


def clip_pixels(image: Image.Image, side: int) -> torch.Tensor:
    """The middle of an RGB image as CLIP was trained to see it: (1, 3, side, side)."""
    scale = side / min(image.size)
    # As CLIP's own preparation: the shorter side fits, the longer one is cut off below a pixel.
    width, height = (side if length == min(image.size) else int(length * scale) for length in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    pixels = np.asarray(image.crop((left, top, left + side, top + side)), dtype=np.float32) / 255.0
    normalised = (pixels - np.asarray(_MEAN, np.float32)) / np.asarray(_DEVIATION, np.float32)
    return torch.from_numpy(normalised)[None].permute(0, 3, 1, 2)
