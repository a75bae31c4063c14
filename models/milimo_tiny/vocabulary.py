"""Byte-level BPE vocabularies for the tiny tokenizers, trained on the spot on a few sentences: no file, no download."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Words that prompts of a toy world use, so that such prompts take few tokens. Anything else falls back to bytes.
SENTENCES = (
    "a small red circle moves to the right on a white background",
    "a large blue square turns slowly on the left of the picture",
    "a green triangle and a yellow star fall from the top to the bottom",
    "two purple hexagons bounce in the middle, the camera follows them",
    "an orange ring grows while the black cross shrinks in the dark",
    "a person walks through a street at night, cinematic light, shallow focus",
    "the cat, the dog, the car, the tree, the house, the face, the hand, the sky",
)


def byte_level_bpe(
    *, size: int, end_of_word: str = "", sentences: Sequence[str] = SENTENCES
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary of at most `size` tokens that covers every byte, and its merges, best first.

    With `end_of_word` (CLIP's "</w>") the last piece of each word carries that suffix, so every byte has two tokens.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE())
    # CLIP splits at spaces and drops them; Qwen keeps a space with the word that follows.
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence(
            [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        if end_of_word
        else pre_tokenizers.ByteLevel(add_prefix_space=False)
    )
    tokenizer.train_from_iterator(
        sentences,
        trainers.BpeTrainer(
            vocab_size=size,
            initial_alphabet=alphabet,
            special_tokens=[letter + end_of_word for letter in alphabet] if end_of_word else [],
            end_of_word_suffix=end_of_word,
            show_progress=False,
        ),
    )
    trained = json.loads(tokenizer.to_str())["model"]
    vocabulary: dict[str, int] = trained["vocab"]
    return vocabulary, [(left, right) for left, right in trained["merges"]]
