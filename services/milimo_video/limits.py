"""Defaults and limits of video generation: the one place where each of them stands.

The values are repeated in the proto's comments, because users read them there.
"""

from __future__ import annotations

DEFAULT_WIDTH = 768
DEFAULT_HEIGHT = 512
DEFAULT_NUM_FRAMES = 121
DEFAULT_FPS = 25
DEFAULT_STRENGTH = 1.0
DEFAULT_NEGATIVE_PROMPT = (
    "low quality, worst quality, inconsistent motion, blurry, jittery, distorted, watermark, text, static, freeze, "
    "loop, pause, still image, motionless"
)

MAX_SIDE = 4096
MAX_FRAMES = 20_000
MAX_PROMPT_CHARS = 10_000
MAX_CONDITIONS = 32
# Pixels: H.264 with yuv420p, by which images are compressed, codes blocks of two by two.
MIN_CONDITION_SIDE = 2
MAX_LORAS = 8
MAX_LORA_WEIGHT = 2.0
# `torch.Generator` takes 64 bits; chunks add their index, and the contract carries a signed integer.
MAX_SEED = 2**63 - 1 - MAX_FRAMES
ACCEPTED_FPS = (24, 25, 30, 48, 50, 60)
MAX_CONDITIONING_FPS = 60

DISTILLED_STEPS = 8
DEV_STEPS = 40
# One step has no interval that could be stretched to the terminal sigma.
MIN_DEV_STEPS = 2
MAX_DEV_STEPS = 200

# Frames of one pass of the model: a default window, not a law of the model.
CHUNK_FRAMES = 121
# Frames that a further chunk shares with the one before it, as asked; the latent grid rounds it up.
OVERLAP_FRAMES = 24
MAX_OVERLAP_FRAMES = 96
MAX_CHUNK_PROMPTS = 256
# New frames that every chunk must have room for when the overlap is not asked for: one latent.
MIN_NEW_FRAMES = 8

# Words that a further chunk must not drift towards: it would freeze on its overlap.
CONTINUATION_NEGATIVE_WORDS = ("static", "freeze", "loop", "pause", "still image", "motionless")
