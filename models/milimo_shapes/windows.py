"""What a step of the video transformer's training sees of clips: which latent frames, at which size, what is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from milimo_video.geometry import TEMPORAL_COMPRESSION, align_overlap
from milimo_video.limits import OVERLAP_FRAMES

from milimo_shapes.latent_cache import CLIPS, KEYFRAMES, LATER, PAIRS, STILLS, Kind

# Of clips: how often the first latents are given, and of steps: how often a chunk goes on from another.
_PREFIXED: Final = 0.2
_CHAINED: Final = 0.1
# Latents that chunks share.
_OVERLAP: Final = align_overlap(OVERLAP_FRAMES).slices
# How often so many latents of the beginning are given at full size; a piece then is shorter, but not more so.
_GIVEN_AT_FULL_SIZE: Final = {0: 0.45, 1: 0.35, _OVERLAP: 0.2}
_SHORTEST_PIECE: Final = 3


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What a step learns from: so many clips, or pictures, at one size, and so many latent frames of each."""

    kind: Kind
    size: str
    count: int
    frames: int

    def __str__(self) -> str:
        return f"{self.kind.name}_{self.size}_{self.frames}"


# They take about the same time.
PICTURES: Final = Turn(kind=STILLS, size="half", count=36, frames=1)
LARGE_PICTURES: Final = Turn(kind=STILLS, size="full", count=10, frames=1)
SCATTERED: Final = Turn(kind=CLIPS, size="half", count=8, frames=6)
WHOLE_CLIPS: Final = Turn(kind=CLIPS, size="half", count=4, frames=16)
CONTINUED: Final = Turn(kind=LATER, size="half", count=3, frames=16)
PIECES: Final = Turn(kind=PAIRS, size="full", count=2, frames=5)


@dataclass(frozen=True, kw_only=True)
class Window:
    """Which latent frames of clips are seen, and how much earlier they stand than in the clip.

    The first are given: so many of each clip.
    """

    frames: tuple[int, ...]
    given: tuple[int, ...]
    earlier: int = 0

    @property
    def known(self) -> int:
        """How many latent frames of the clip go by until something is to be made."""
        return self.earlier + max(self.given)

    def keyframes(self) -> list[int]:
        """Which of `KEYFRAMES` lie in it; none where it does not stand where it is in the clip."""
        if self.earlier:
            return []
        first, last = TEMPORAL_COMPRESSION * (self.frames[0] - 1), TEMPORAL_COMPRESSION * self.frames[-1]
        return [index for index, frame in enumerate(KEYFRAMES) if first < frame <= last]


def draw_window(turn: Turn, count: int, total: int, random: np.random.Generator) -> Window:
    """What a step sees of `count` clips of `total` latent frames.

    At half size, where movement is made, that is the whole clip, or the first and a few others of it, or what a chunk
    sees that goes on from the latents of the one before it. At full size it is a piece.
    """
    length, moving = min(turn.frames, total), turn.kind.frames > 1
    if moving and turn.size == "full":
        return _draw_piece(length, count, total, random)
    if moving and random.random() < _CHAINED:
        begin = int(random.integers(1, total // 2 + 1))
        seen = range(begin, min(begin + length, total))
        return Window(frames=tuple(seen), given=(_OVERLAP,) * count, earlier=begin)
    is_scattered = length < total
    others = random.choice(np.arange(1, total), length - 1, replace=False) if is_scattered else np.arange(1, length)

    def given() -> int:
        if moving and (random.random() < _PREFIXED or not turn.kind.is_staged):
            return _OVERLAP if not is_scattered and random.random() < 0.4 else 1
        return 0

    return Window(frames=(0, *sorted(others.tolist())), given=tuple(given() for _ in range(count)))


def _draw_piece(length: int, count: int, total: int, random: np.random.Generator) -> Window:
    """So many latent frames after each other, with what is given of the beginning, however far away it is.

    Far from it an object has often lost its shape at half size, and what is given shows it.
    """
    given = int(random.choice(tuple(_GIVEN_AT_FULL_SIZE), p=tuple(_GIVEN_AT_FULL_SIZE.values())))
    goes_on = given == _OVERLAP and random.random() < 0.5
    begin = int(random.integers(1, total // 2 + 1)) if goes_on else 0
    length = min(max(length - given, _SHORTEST_PIECE), total - begin - given)
    first = int(random.integers(begin + given, total - length + 1))
    frames = (*range(begin, begin + given), *range(first, first + length))
    return Window(frames=frames, given=(given,) * count, earlier=begin)
