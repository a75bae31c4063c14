"""Limits and defaults of image generation: the one place where they stand."""

from __future__ import annotations

from dataclasses import dataclass

from milimo_runtime.images import MAX_IMAGE_PIXELS

# Pixels of a side. The model works on multiples of SIDE_MULTIPLE (8 × 8 pixels per latent, 2 × 2 latents per token).
MIN_SIDE = 64
MAX_SIDE = 8192
SIDE_MULTIPLE = 16
DEFAULT_WIDTH = 1024
DEFAULT_HEIGHT = 1024
MAX_PIXELS = MAX_IMAGE_PIXELS

MAX_PROMPT_CHARACTERS = 10_000
# Tokens that the text encoder reads of a prompt; the rest is cut, and said.
MAX_PROMPT_TOKENS = 512

MAX_STEPS = 200
MIN_GUIDANCE = 1.0
MAX_GUIDANCE = 20.0
MAX_COUNT = 16
MAX_SEED = 2**63 - 1

# Two passes per step with a negative prompt: off unless asked for.
DEFAULT_CFG_SCALE = 2.0
MIN_CFG_SCALE = 1.0
MAX_CFG_SCALE = 5.0

MAX_REFERENCES = 10
MIN_REFERENCE_SIDE = 64
MAX_REFERENCE_ASPECT = 8.0
# Positions in time that set the references apart from the image that is made, which stands at 0: 10, 20, …
REFERENCE_TIME_STEP = 10

# Most pixels that inpainting works on at once; a larger region is scaled down, and what is painted scaled up.
MAX_INPAINT_PIXELS = 2048 * 2048
DEFAULT_FEATHER = 8
MAX_FEATHER = 256
MAX_CROP_PADDING = 2048
# Between the proportions of a mask and of its image, as a part of one.
MASK_ASPECT_TOLERANCE = 0.02

# Above this size the decoder works on overlapping tiles, so that its memory stays bounded.
TILED_DECODE_ABOVE_PIXELS = 2048 * 2048

# Longest side of a preview, in pixels.
PREVIEW_SIDE = 256

JPEG_QUALITY = 95
THUMBNAIL_DIVISOR = 4
THUMBNAIL_QUALITY = 85

# Host memory for cached prompt embeddings; one of FLUX.2 klein 9B has 12.6 MB.
PROMPT_CACHE_BYTES = 256 * 1024**2
# Host memory for the latents of references; one of 2,024² pixels has 8.2 MB in float32.
REFERENCE_CACHE_BYTES = 128 * 1024**2


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Steps and guidance when a request gives none."""

    steps: int
    guidance: float


DISTILLED = Sampling(steps=4, guidance=1.0)
BASE = Sampling(steps=50, guidance=4.0)
