"""One pass of the model within a plan: its frames and prompts, and what it follows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from milimo_video.geometry import Span


@dataclass(frozen=True, kw_only=True)
class ChunkCondition:
    """A condition of the request (`index` in `VideoRequest.conditions`), at a frame of its chunk.

    `frames`: how many frames of it are used, 8k + 1; 1 of an image. Its video is read from frame `read_from` on, and of
    that frame `first` is used and then `every` so many.
    """

    index: int
    frame: int
    frames: int = 1
    read_from: int = 0
    first: int = 0
    every: int = 1

    def key(self, asset_id: str) -> str:
        """Names what was read of the condition's asset, which other conditions may read from other frames on."""
        return f"{asset_id}:{self.read_from}" if self.read_from else asset_id

    def shown(self, video: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frames that are used of what was read of the condition's video [n, height, width, 3]."""
        return video[self.first :: self.every][: self.frames]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """One pass of the model: what it contributes, its seed, prompts, conditions and its tokens in both stages.

    `stage_prefix` stands before the names of its stages.
    """

    span: Span
    seed: int
    prompt: str
    negative_prompt: str
    stage_prefix: str
    conditions: tuple[ChunkCondition, ...]
    stage_1_tokens: int
    stage_2_tokens: int
    # Of the temporal stage; 0 without it.
    temporal_tokens: int = 0
