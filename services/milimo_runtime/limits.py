"""Limits that hold for every service. The contract's comments repeat them, and so does docs/operations.md."""

from __future__ import annotations

from typing import Final

# gRPC
MESSAGE_BYTES: Final = 4 * 1024 * 1024
UNARY_SECONDS: Final = 120.0
UPLOAD_SECONDS: Final = 3600.0
# Of text by the video model's text encoder, which may wait for a video.
TEXT_SECONDS: Final = 3600.0

# Media
UPLOAD_BYTES: Final = 2 * 1024**3
UPLOADS_AT_ONCE: Final = 8
UPLOAD_PIECE_SECONDS: Final = 300.0
DISK_RESERVE_BYTES: Final = 64 * 1024**2
IMAGE_PIXELS: Final = 64_000_000
IMAGES_AT_ONCE: Final = 2
VIDEO_SIDE: Final = 4096
VIDEO_FRAMES: Final = 20_000
REFERENCES: Final = 10

# Text
PROMPT_CHARACTERS: Final = 10_000
SCRIPT_BYTES: Final = 5_000_000

# Segmentation
POINTS: Final = 1_000

# Jobs of one service that have not ended
OPEN_JOBS: Final = 10_000

# Lists
PAGE_SIZE: Final = 100
