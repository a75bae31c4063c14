"""Weights that stay in host memory and come to the device block by block, where the whole model does not fit.

diffusers' group offloading does it. Each block of the transformer, and each part of it beside the blocks, is a group of
its own and leaves before the next one comes: nothing is fetched ahead, which would be faster and hold two blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HOST = torch.device("cpu")


def _stream_blocks(transformer: Any, device: torch.device) -> None:
    from diffusers.hooks import apply_group_offloading

    lists = (torch.nn.ModuleList, torch.nn.Sequential)
    apply_group_offloading(
        transformer,
        onload_device=device,
        offload_device=_HOST,
        offload_type="block_level",
        num_blocks_per_group=1,
        block_modules=[name for name, child in transformer.named_children() if not isinstance(child, lists)],
    )


def _stream_leaves(model: Any, device: torch.device) -> None:
    from diffusers.hooks import apply_group_offloading

    apply_group_offloading(model, onload_device=device, offload_device=_HOST, offload_type="leaf_level")


# The large parts. The others stay on the device: together they are smaller than what one pass computes with.
STREAMED: Mapping[str, Callable[[Any, torch.device], None]] = {
    "transformer": _stream_blocks,
    "text_encoder": _stream_leaves,
}
