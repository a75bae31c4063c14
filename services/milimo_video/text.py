"""Prompts as the transformer's connectors read them, and a small cache of them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from milimo_video.models import VideoModels

# Tokens that a prompt is padded or cut to; what the checkpoint was trained with.
PROMPT_TOKENS = 1024


@dataclass(frozen=True, kw_only=True)
class EncodedText:
    """The text encoder's hidden states of a text, without the padding in front of it.

    `states`: [1, tokens, width × (layers + 1)], in host memory, where it may be kept without a share of the
    accelerator's. At full size a padded prompt is 385 MB, of which a typical one uses a tenth; the connectors replace
    the padding's states, so that nothing is lost without them.
    """

    states: torch.Tensor

    def padded(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """States [1, 1024, …] and attention mask [1, 1024] on `device`, padded on the left for the pipelines."""
        tokens = self.states.shape[1]
        states = torch.zeros((1, PROMPT_TOKENS, self.states.shape[2]), dtype=self.states.dtype, device=device)
        states[:, PROMPT_TOKENS - tokens :] = self.states.to(device)
        mask = torch.zeros((1, PROMPT_TOKENS), dtype=torch.int64, device=device)
        mask[:, PROMPT_TOKENS - tokens :] = 1
        return states, mask


@dataclass(frozen=True, kw_only=True)
class EncodedPrompt:
    """An encoded prompt, with its negative one where the model is guided."""

    positive: EncodedText
    negative: EncodedText | None


@dataclass(frozen=True, kw_only=True)
class PromptKey:
    """What an encoding depends on; `negative_prompt` is None where the model is not guided."""

    model: str
    prompt: str
    negative_prompt: str | None


class PromptCache:
    """The encodings that were used last, so that a batch of shots encodes each prompt once.

    Not safe for several threads: it belongs to the thread that computes.
    """

    def __init__(self, capacity: int) -> None:
        """Keeps at most `capacity` ≥ 0 encodings; 0 keeps none."""
        self._capacity = capacity
        self._entries: OrderedDict[PromptKey, EncodedPrompt] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: PromptKey) -> EncodedPrompt | None:
        """The encoding of `key`, which becomes the most recently used, or None."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: PromptKey, encoded: EncodedPrompt) -> None:
        """Keeps an encoding and drops the least recently used ones beyond the capacity."""
        self._entries[key] = encoded
        self._entries.move_to_end(key)
        while len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Drops everything, for instance when the model is unloaded."""
        self._entries.clear()


def encode_prompt(models: VideoModels, prompt: str, negative_prompt: str, cache: PromptCache) -> EncodedPrompt:
    """Encodes a prompt, or takes it from the cache. The negative prompt is encoded for a guided checkpoint only."""
    guided = models.checkpoint == "dev"
    key = PromptKey(model=models.name, prompt=prompt, negative_prompt=negative_prompt if guided else None)
    cached = cache.get(key)
    if cached is not None:
        return cached
    encoded = EncodedPrompt(
        positive=_encode(models, prompt),
        negative=_encode(models, negative_prompt) if guided else None,
    )
    cache.put(key, encoded)
    return encoded


@torch.no_grad()
def _encode(models: VideoModels, text: str) -> EncodedText:
    states, mask, _, _ = models.text_to_video.encode_prompt(
        prompt=text,
        do_classifier_free_guidance=False,
        max_sequence_length=PROMPT_TOKENS,
        device=models.device,
    )
    return EncodedText(states=states[:, -int(mask.sum()) :].to("cpu", copy=True))
