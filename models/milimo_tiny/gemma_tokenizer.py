"""A tokenizer in the manner of Gemma 3, with 512 tokens, built without any download.

Byte-level BPE: every text can be encoded, and decoding gives it back. Merges are learned from a few sentences about
films, so that words are shorter than their bytes; learning is deterministic.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY_SIZE = 512


@dataclass(frozen=True, kw_only=True)
class SpecialToken:
    """A token that no text contains, with its place in the vocabulary."""

    text: str
    id: int


PADDING = SpecialToken(text="<pad>", id=0)
END_OF_TEXT = SpecialToken(text="<eos>", id=1)
BEGIN_OF_TEXT = SpecialToken(text="<bos>", id=2)
UNKNOWN = SpecialToken(text="<unk>", id=3)
BEGIN_OF_TURN = SpecialToken(text="<start_of_turn>", id=4)
END_OF_TURN = SpecialToken(text="<end_of_turn>", id=5)
BEGIN_OF_IMAGE = SpecialToken(text="<start_of_image>", id=6)
END_OF_IMAGE = SpecialToken(text="<end_of_image>", id=7)
IMAGE = SpecialToken(text="<image_soft_token>", id=8)

_SPECIAL = (
    PADDING,
    END_OF_TEXT,
    BEGIN_OF_TEXT,
    UNKNOWN,
    BEGIN_OF_TURN,
    END_OF_TURN,
    BEGIN_OF_IMAGE,
    END_OF_IMAGE,
    IMAGE,
)

_SENTENCES = (
    "a red ball rolls slowly over the green grass while the camera follows it from left to right",
    "the character walks through the door of an old house, stops, and looks at the window",
    "close-up of a hand that holds a letter; the light of the morning falls through the curtains",
    "wide shot of a city at night in the rain, neon lights are reflected in the street",
    "INT. KITCHEN - DAY. ANNA opens the fridge. EXT. BEACH - SUNSET. The waves come and go.",
    '[{"scene": 1, "shots": [{"action": "she turns around", "dialogue": "Who is there?", "shot_type": "medium"}]}]',
    "low quality, worst quality, inconsistent motion, blurry, jittery, distorted, watermark, text, static, freeze",
    "a blue square moves down, a yellow triangle moves up, a white circle grows in the middle of the frame",
)

# Turns as Gemma 3 writes them: a system message goes in front of the first user turn.
_CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{%- set ns = namespace(system='') -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}"
    "{%- if message['content'] is string -%}{%- set ns.system = message['content'] + '\n\n' -%}"
    "{%- else -%}{%- set ns.system = message['content'][0]['text'] + '\n\n' -%}{%- endif -%}"
    "{%- else -%}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' + ns.system }}"
    "{%- set ns.system = '' -%}"
    "{%- if message['content'] is string -%}{{ message['content'] | trim }}"
    "{%- else -%}{%- for item in message['content'] -%}"
    "{%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}"
    "{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{{ '<end_of_turn>\n' }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer; it pads on the left, as Gemma does, and puts `<bos>` in front."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _SENTENCES,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY_SIZE,
            special_tokens=[token.text for token in _SPECIAL],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN_OF_TEXT.text} $A",
        special_tokens=[(BEGIN_OF_TEXT.text, BEGIN_OF_TEXT.id)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=32768,
        padding_side="left",
        pad_token=PADDING.text,
        eos_token=END_OF_TEXT.text,
        bos_token=BEGIN_OF_TEXT.text,
        unk_token=UNKNOWN.text,
        additional_special_tokens=[token.text for token in _SPECIAL[4:]],
        chat_template=_CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
