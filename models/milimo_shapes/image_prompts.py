"""Captions as the image transformer reads them: through the text encoder's first layer, as the service does it.

The service pads to 512 tokens on the right, and the transformer reads all of them. The padding's embedding is zero, so
that in the first layer it asks for nothing and gets the mean over the caption; and words have no place of their own in
the transformer. So all padding stays the same from layer to layer, and one token that counts as often as there are of
them stands for it, which is exact and cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as nnf
from milimo_image.defaults import MAX_PROMPT_TOKENS

if TYPE_CHECKING:
    from collections.abc import Sequence


def embed_captions(
    captions: Sequence[str], tokenizer: Any, encoder: Any, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings [B, tokens, width] of a Qwen3Model, and what is added to attention to them, [B, tokens].

    Padded on the right to one more than the longest caption; the padding has the weight of that to 512.
    """
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": caption}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        for caption in captions
    ]
    tokens = tokenizer(texts, padding="longest", return_tensors="pt").to(device)
    kept = nnf.pad(tokens.attention_mask, (0, 1))
    states = encoder(
        input_ids=nnf.pad(tokens.input_ids, (0, 1), value=tokenizer.pad_token_id),
        attention_mask=kept,
        output_hidden_states=True,
        use_cache=False,
    ).hidden_states[1]
    length = kept.sum(dim=1, keepdim=True)
    weight = torch.log((MAX_PROMPT_TOKENS - length) / (kept.shape[1] - length))
    return states, torch.where(kept > 0, 0.0, weight)
