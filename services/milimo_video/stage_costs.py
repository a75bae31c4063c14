"""The stages of one pass of the model, and what their steps cost beside each other.

The unit is one token through the transformer once. Figures follow from the sizes of the networks and need not be
exact: they keep a progress bar steady, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

# Of the 19 B model: a token's share of attention equals its share of the linear layers at about this many tokens.
_ATTENTION_PARITY_TOKENS = 28_000
# 1024 prompt tokens through a 12 B text encoder.
_TEXT_COST = 900.0
_UPSAMPLE_COST_PER_TOKEN = 0.1
# Decoding and encoding a pixel, in tokens.
_PIXEL_COST = 1 / 20_000
# Copying the packets of a pixel, beside that.
_COPY_COST = _PIXEL_COST / 100
# Passes of the transformer for one guided step: conditional and negative together, perturbed, modalities apart.
GUIDED_PASSES = 4
# The same as calls of the transformer: the first two passes are one call with a batch of two.
GUIDED_CALLS = 3

ENCODE_TEXT = "encode_text"
STAGE_1 = "stage_1"
UPSAMPLE = "upsample"
STAGE_2 = "stage_2"
UPSAMPLE_TIME = "upsample_time"
REFINE_TIME = "refine_time"
DECODE = "decode"
JOIN = "join"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of a job: its name, its steps (≥ 1), and the relative cost of one step (> 0)."""

    name: str
    steps: int
    step_cost: float


def chunk_stages(
    *,
    prefix: str,
    stage_1_tokens: int,
    stage_2_tokens: int,
    stage_1_steps: int,
    stage_2_steps: int,
    guided: bool,
    frames: int,
    kept: int,
    pixels: int,
    temporal_tokens: int = 0,
    temporal_steps: int = 0,
) -> tuple[Stage, ...]:
    """The stages of one chunk in order. `frames` are made and `kept` are encoded, of `pixels` pixels each.

    Without `temporal_steps` there is no temporal stage.
    """
    passes = GUIDED_PASSES if guided else 1
    temporal = (
        Stage(name=prefix + UPSAMPLE_TIME, steps=1, step_cost=_UPSAMPLE_COST_PER_TOKEN * stage_2_tokens),
        Stage(name=prefix + REFINE_TIME, steps=temporal_steps, step_cost=_pass_cost(temporal_tokens)),
    )
    return (
        Stage(name=prefix + ENCODE_TEXT, steps=1, step_cost=_TEXT_COST),
        Stage(name=prefix + STAGE_1, steps=stage_1_steps, step_cost=passes * _pass_cost(stage_1_tokens)),
        Stage(name=prefix + UPSAMPLE, steps=1, step_cost=_UPSAMPLE_COST_PER_TOKEN * stage_1_tokens),
        Stage(name=prefix + STAGE_2, steps=stage_2_steps, step_cost=_pass_cost(stage_2_tokens)),
        *(temporal if temporal_steps else ()),
        Stage(name=prefix + DECODE, steps=kept, step_cost=frames * pixels * _PIXEL_COST / kept),
    )


def join_stage(chunks: int, frames: int, pixels: int) -> Stage:
    """The end of a chained video: its chunks' packets are copied one chunk after the other."""
    return Stage(name=JOIN, steps=chunks, step_cost=frames * pixels * _COPY_COST / chunks)


def _pass_cost(tokens: int) -> float:
    return tokens * (1.0 + tokens / _ATTENTION_PARITY_TOKENS)
