"""Limits and defaults of segmentation: the one place where they stand."""

from __future__ import annotations

MAX_POINTS = 1000
MAX_BOXES = 100
MAX_TEXT_CHARACTERS = 1000

# Instances found by text are kept above this score.
DEFAULT_CONFIDENCE = 0.5
# A pixel belongs to an instance above this probability.
MASK_THRESHOLD = 0.5

# Memory on the model's device for embeddings of images; one of SAM 3 in bfloat16 has 11 MB for clicks, 56 MB for text.
EMBEDDING_CACHE_BYTES = 512 * 1024**2
