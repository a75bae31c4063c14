"""Layers whose weights are stored in fp8, half of bf16, and multiplied with their scale when they are used.

The published fp8 checkpoint has a scale for each layer, without which a mere cast would be wrong; so the same layer
serves where a checkpoint in full precision is made smaller.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    from collections.abc import Collection

# The large layers of the transformer's blocks, those that the official code keeps in fp8 too.
_LARGE: Final = re.compile(r"transformer_blocks\.\d+\..*(\.to_[qkv]|\.to_out\.0|ff\.net\.0\.proj|ff\.net\.2)$")


class ScaledLinear(torch.nn.Linear):
    """A linear layer with weights in float8_e4m3fn: y = x (weight · weight_scale)ᵀ + bias, in the type of x."""

    weight_scale: torch.Tensor

    @property
    def compute_dtype(self) -> torch.dtype:
        """The type of what is beside the weights; peft asks for it, and would store a LoRA in fp8 without."""
        return torch.bfloat16 if self.bias is None else self.bias.dtype

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        weight = self.weight.to(input.dtype) * self.weight_scale.to(input.dtype)
        return torch.nn.functional.linear(input, weight, self.bias)


def use_scaled_linears(model: torch.nn.Module, layers: Collection[str]) -> None:
    """Makes these linear layers of the model `ScaledLinear`s; their weights and scales come afterwards."""
    for name in layers:
        layer = model.get_submodule(name)
        assert isinstance(layer, torch.nn.Linear), f"{name} is no linear layer"
        # The class alone is exchanged: weights, hooks and the layer's place stay.
        layer.__class__ = ScaledLinear
        layer.register_buffer("weight_scale", torch.ones((), dtype=torch.float32, device=layer.weight.device))


@torch.no_grad()
def store_in_fp8(model: torch.nn.Module) -> None:
    """Stores the large layers of a transformer's blocks in fp8, each scaled so that its largest weight just fits."""
    largest = torch.finfo(torch.float8_e4m3fn).max
    chosen = [
        name
        for name, layer in model.named_modules()
        if _LARGE.search(name) and isinstance(layer, torch.nn.Linear) and not isinstance(layer, ScaledLinear)
    ]
    use_scaled_linears(model, chosen)
    for name in chosen:
        layer = model.get_submodule(name)
        assert isinstance(layer, ScaledLinear)
        if layer.weight.is_meta:
            layer.weight = torch.nn.Parameter(layer.weight.to(torch.float8_e4m3fn), requires_grad=False)
            continue
        weight = layer.weight.float()
        scale = (weight.abs().amax() / largest).clamp_min(torch.finfo(torch.float32).tiny)
        stored = (weight / scale).clamp(-largest, largest).to(torch.float8_e4m3fn)
        layer.weight = torch.nn.Parameter(stored, requires_grad=False)
        layer.weight_scale = scale
