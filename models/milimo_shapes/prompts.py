"""Captions as the video transformer reads them: through text encoder and connectors, as the pipelines do it.

The pipelines pad to 1024 tokens on the left, and the connectors call all of them valid. Without registers, and without
a bias on queries, the padding's embeddings are all the same: what attention gives a query of zero, the mean over the
caption's tokens, a summary. One such token with the weight of all therefore stands for them, which is exact and cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
import torch.nn.functional as nnf

if TYPE_CHECKING:
    from collections.abc import Sequence

PADDED: Final = 1024


def embed_captions(
    captions: Sequence[str], tokenizer: Any, text_encoder: Any, connectors: Any, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings [B, tokens, width], and what is added to attention to them, [B, 1, tokens].

    Padded on the left to one more than the longest caption; the padding has the weight of that to 1024.
    """
    tokens = tokenizer(list(captions), padding="longest", add_special_tokens=True, return_tensors="pt").to(device)
    kept = nnf.pad(tokens.attention_mask, (1, 0))
    states = text_encoder(
        input_ids=nnf.pad(tokens.input_ids, (1, 0), value=tokenizer.pad_token_id),
        attention_mask=kept,
        output_hidden_states=True,
    ).hidden_states
    embeddings, _, _ = connectors(torch.stack(states, dim=-1).flatten(2, 3), kept, padding_side="left")
    length = kept.sum(dim=1, keepdim=True)
    weight = torch.log((PADDED - length) / (kept.shape[1] - length))
    return embeddings, torch.where(kept > 0, 0.0, weight)[:, None]
