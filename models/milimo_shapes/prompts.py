"""Captions as the video transformer reads them: through text encoder and connectors, as the pipelines do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


def embed_captions(
    captions: Sequence[str], tokenizer: Any, text_encoder: Any, connectors: Any, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings [B, tokens, width] and their mask [B, tokens], padded on the left to the longest caption only.

    The pipelines pad to 1024. Positions are relative and padding is masked, so that it makes no difference.
    """
    tokens = tokenizer(list(captions), padding="longest", add_special_tokens=True, return_tensors="pt").to(device)
    states = text_encoder(
        input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, output_hidden_states=True
    ).hidden_states
    packed = torch.stack(states, dim=-1).flatten(2, 3)
    embeddings, _, mask = connectors(packed, tokens.attention_mask, padding_side="left")
    return embeddings, mask
