"""The sound of a long video: that of its chunks, cross-faded where they overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SoundMixer:
    """Joins the sound of chunks one by one; keeps no more of it than one chunk's.

    Chunks make their sound each for itself, so that the two sides of an overlap are not in phase: they are faded with
    equal power (sin² + cos² = 1), which keeps the loudness; a linear fade would dip by 3 dB in the middle.
    """

    def __init__(self) -> None:
        self._held = np.zeros((2, 0), dtype=np.float32)

    def add(self, samples: NDArray[np.float32], *, hold: int) -> NDArray[np.float32]:
        """Takes the sound of the next chunk, [2, n] in [-1, 1], and returns what is finished by it, [2, m].

        `hold` is how many samples (≤ n) the chunk after it overlaps with; 0 for the last. The chunk overlaps with the
        one before by as much as that one held.
        """
        overlap = self._held.shape[1]
        angle = (np.arange(overlap, dtype=np.float32) + 0.5) * (np.pi / 2 / max(1, overlap))
        mixed = samples.copy()
        mixed[:, :overlap] = self._held * np.cos(angle) + samples[:, :overlap] * np.sin(angle)
        np.clip(mixed, -1.0, 1.0, out=mixed)
        finished = mixed.shape[1] - hold
        self._held = mixed[:, finished:].copy()
        return mixed[:, :finished]
