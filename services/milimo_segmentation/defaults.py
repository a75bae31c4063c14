"""Limits and defaults of segmentation: the one place where they stand."""

from __future__ import annotations

MAX_POINTS = 1000
MAX_BOXES = 100
MAX_TEXT_CHARACTERS = 1000
# Of the instances that a text finds, so many of the best are answered.
MAX_INSTANCES = 100

# Calls of this process that are at work or wait for their turn; one more is refused.
CALLS = 32
# Pixels of their decoded images together, 4 bytes each; an image that comes while no other waits is always taken.
WAITING_PIXELS = 256_000_000
# Calls whose masks are made at full size and encoded at the same time: each takes about 8 bytes per pixel.
ENCODING_CALLS = 2

# Instances found by text are kept above this score.
DEFAULT_CONFIDENCE = 0.5
# A pixel belongs to an instance above this probability.
MASK_THRESHOLD = 0.5

# Memory on the model's device for embeddings of images; one of SAM 3 in bfloat16 has 11 MB for clicks, 56 MB for text.
EMBEDDING_CACHE_BYTES = 512 * 1024**2
