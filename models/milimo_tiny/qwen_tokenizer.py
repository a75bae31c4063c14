"""The tokenizer of the small Qwen3: byte-level BPE with Qwen3's chat template and a small vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformers import Qwen2TokenizerFast

from milimo_tiny.vocabulary import SENTENCES, byte_level_bpe

if TYPE_CHECKING:
    from collections.abc import Sequence

END_OF_TURN = "<|im_end|>"
_SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", END_OF_TURN, "<think>", "</think>")

# What Qwen3's own template does with plain conversations.
_CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}"
    "{%- endif %}"
    "{%- endif %}"
)


def build_tokenizer(*, size: int = 512, sentences: Sequence[str] = SENTENCES) -> Qwen2TokenizerFast:
    """The tokenizer, with at most `size` tokens learned from `sentences` and a few special ones."""
    vocabulary, merges = byte_level_bpe(size=size, sentences=sentences)
    for token in _SPECIAL_TOKENS:
        vocabulary[token] = len(vocabulary)
    tokenizer = Qwen2TokenizerFast(
        vocab=vocabulary,
        merges=merges,
        pad_token="<|endoftext|>",  # noqa: S106 - a token of the vocabulary
        eos_token=END_OF_TURN,
        model_max_length=1024,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", END_OF_TURN]})
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer
