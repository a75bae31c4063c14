"""Prompts to embeddings: hidden states of the text encoder, side by side, and a cache of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from milimo_runtime.lru import ByteBoundedCache

from milimo_image import defaults

if TYPE_CHECKING:
    from milimo_image.models import ImageModels


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptEmbedding:
    """A prompt as the transformer reads it: `states` is (1, 512, joint width), in host memory."""

    states: torch.Tensor
    tokens: int  # of the whole prompt with its template, also those that were cut

    @property
    def is_truncated(self) -> bool:
        """Whether the end of the prompt was cut."""
        return self.tokens > defaults.MAX_PROMPT_TOKENS


# Keyed by the text encoder's fingerprint and the prompt.
PromptCache = ByteBoundedCache[tuple[str, str], PromptEmbedding]


def prompt_cache(max_bytes: int = defaults.PROMPT_CACHE_BYTES) -> PromptCache:
    """An empty cache of prompt embeddings, bounded by their bytes."""
    return ByteBoundedCache(max_bytes=max_bytes, size_of=lambda embedding: embedding.states.nbytes)


def embed_prompt(models: ImageModels, prompt: str, cache: PromptCache) -> PromptEmbedding:
    """The embedding of `prompt`, from the cache when it was made before."""
    return cache.get_or_compute((models.text_fingerprint, prompt), lambda: _embed(models, prompt))


@torch.inference_mode()
def _embed(models: ImageModels, prompt: str) -> PromptEmbedding:
    text = models.tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    inputs = models.tokenizer(
        text, return_tensors="pt", padding="max_length", truncation=True, max_length=defaults.MAX_PROMPT_TOKENS
    )
    device = models.text_encoder.device
    output = models.text_encoder(
        input_ids=inputs["input_ids"].to(device),
        attention_mask=inputs["attention_mask"].to(device),
        output_hidden_states=True,
        use_cache=False,
    )
    states = torch.cat([output.hidden_states[layer] for layer in models.prompt_layers], dim=-1)
    return PromptEmbedding(states=states.cpu(), tokens=len(models.tokenizer(text)["input_ids"]))
