"""Prompts that were encoded before."""

from __future__ import annotations

import torch
from milimo_video.text import PromptCache


def test_prompt_cache_keeps_the_last_used() -> None:
    from milimo_video.text import EncodedPrompt, EncodedText, PromptKey

    encoded = EncodedPrompt(positive=EncodedText(states=torch.zeros(1, 2, 3)), negative=None)
    a, b, c = (PromptKey(model="m", prompt=text, negative_prompt=None) for text in "abc")
    cache = PromptCache(2)
    cache.put(a, encoded)
    cache.put(b, encoded)
    assert cache.get(a) is encoded
    cache.put(c, encoded)
    assert (len(cache), cache.get(b)) == (2, None)
    cache.clear()
    assert len(cache) == 0
