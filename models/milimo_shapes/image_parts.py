"""The parts of the shapes' FLUX.2 beside its autoencoder: the classes of the real one, small.

Import this module only after `milimo_runtime.vision_ops.prepare_torchvision`: the models' libraries load torchvision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from diffusers import Flux2Transformer2DModel
from milimo_tiny.qwen_tokenizer import END_OF_TURN, build_tokenizer
from transformers import Qwen3Config, Qwen3ForCausalLM

from milimo_shapes.captions import sentences_of_words
from milimo_shapes.image_autoencoder import LATENT_CHANNELS

if TYPE_CHECKING:
    from transformers import Qwen2TokenizerFast

_VOCABULARY_SIZE: Final = 1024
_TEXT_WIDTH: Final = 128
# The services use the output of as many layers as fill the transformer's joint width, of those before the last.
USED_LAYERS: Final = 1


def caption_tokenizer() -> Qwen2TokenizerFast:
    """The tiny family's tokenizer, taught the words of captions: one token each. Anything else falls back to bytes."""
    return build_tokenizer(size=_VOCABULARY_SIZE, sentences=sentences_of_words())


def text_encoder(tokenizer: Qwen2TokenizerFast) -> Any:
    """A Qwen3 of two narrow layers, of which the first is used. It reads captions; what it would write means nothing.

    More layers would see how far behind a caption its padding stands: see `image_prompts`.
    """
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=_TEXT_WIDTH,
            intermediate_size=3 * _TEXT_WIDTH,
            num_hidden_layers=USED_LAYERS + 1,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=_TEXT_WIDTH // 4,
            max_position_embeddings=1024,
            rope_theta=10_000.0,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.convert_tokens_to_ids(END_OF_TURN),
            initializer_range=0.1,
        )
    )


def transformer() -> Any:
    """The transformer. Positions are time, row and column; words have none: the text encoder has read their order."""
    return Flux2Transformer2DModel(
        in_channels=4 * LATENT_CHANNELS,
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=32,
        num_attention_heads=6,
        joint_attention_dim=USED_LAYERS * _TEXT_WIDTH,
        timestep_guidance_channels=256,
        axes_dims_rope=(8, 12, 12, 0),
        # Pictures have up to sixteen tokens a side.
        rope_theta=100,
        guidance_embeds=False,
    )
