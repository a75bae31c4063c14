"""How much a video's chunks can be seen: jumps of motion and colour at their borders, and colours that drift away.

Motion is the optical flow between two frames by the method of Lucas and Kanade: for each block of 8 × 8 pixels of the
smoothed brightness the displacement d that minimises Σ (∇I · d + ∂I/∂t)², held small where nothing can be seen.

The step at frame t, for t ≥ 2, is how much changes there beside the frame before: of the flow, the mean over the blocks
of |d(t−1 → t) − d(t−2 → t−1)| in pixels; of the colours, |m(t) − m(t−1)| summed over the means and standard deviations
of the three channels. Either is divided by its median within chunks, and the step is the mean of the two.

    seam ratio = mean step at the first frame of each further chunk ÷ mean step at all other frames

1 means that a border cannot be told from any other frame. The drift is how far the mean colour statistics of the last
chunk lie from those of the first, in standard deviations of the first chunk's frames (the mean over the six):

    drift = mean over i of |m̄ᵢ(last) − m̄ᵢ(first)| ÷ σᵢ(first)
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BLOCK: Final = 8
# Of the gradient's square: below it a block is too plain to tell its motion. Brightness is 0 to 255.
_PLAIN: Final = 1.0
# A longer displacement cannot be told from brightness that changed.
_FARTHEST: Final = 8.0
_LEAST: Final = 1e-6


def seam_ratio(frames: NDArray[np.uint8], borders: Sequence[int]) -> float:
    """The seam ratio of frames [n, height, width, 3] whose further chunks begin at `borders` (each at least 2)."""
    motion, colour = _steps(frames)
    at = np.zeros(len(motion), dtype=bool)
    at[[border - 2 for border in borders]] = True
    step = sum((values / max(_LEAST, float(np.median(values[~at]))) for values in (motion, colour)), np.zeros(len(at)))
    return float(step[at].mean() / step[~at].mean())


def drift(frames: NDArray[np.uint8], borders: Sequence[int]) -> float:
    """The drift of frames [n, height, width, 3] whose further chunks begin at `borders`."""
    statistics = colour_statistics(frames)
    first, last = statistics[: borders[0]], statistics[borders[-1] :]
    spread = np.maximum(first.std(axis=0), _LEAST)
    return float((np.abs(last.mean(axis=0) - first.mean(axis=0)) / spread).mean())


def colour_statistics(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean and standard deviation of each channel, of each frame: [n, 6]."""
    pixels = frames.reshape(len(frames), -1, 3)
    return np.concatenate([pixels.mean(axis=1), pixels.std(axis=1)], axis=1)


def flow(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The displacement (x, y) in pixels of each block between two frames [height, width, 3]: [rows, columns, 2]."""
    first, second = _brightness(before), _brightness(after)
    middle = (first + second) / 2
    down, right = np.gradient(middle)
    change = second - first
    xx, xy, yy = (_blocks(product) for product in (right * right, right * down, down * down))
    xt, yt = _blocks(right * change), _blocks(down * change)
    xx, yy = xx + _PLAIN, yy + _PLAIN
    determinant = xx * yy - xy * xy
    across = -(yy * xt - xy * yt) / determinant
    along = -(xx * yt - xy * xt) / determinant
    return np.clip(np.stack([across, along], axis=-1), -_FARTHEST, _FARTHEST)


def _steps(frames: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps of motion and of colour at frames 2, 3, …"""
    motion: list[float] = []
    last: NDArray[np.float64] | None = None
    for before, after in pairwise(frames):
        here = flow(before, after)
        if last is not None:
            motion.append(float(np.linalg.norm(here - last, axis=-1).mean()))
        last = here
    colour = np.abs(np.diff(colour_statistics(frames), axis=0)).sum(axis=1)[1:]
    return np.asarray(motion), colour


def _brightness(frame: NDArray[np.uint8]) -> NDArray[Any]:
    """BT.709 brightness, smoothed over 3 × 3 pixels."""
    grey = frame.astype(np.float64) @ np.array([0.2126, 0.7152, 0.0722])
    for axis in (0, 1):
        padded = np.pad(grey, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        size = grey.shape[axis]
        grey = sum(np.take(padded, range(k, k + size), axis=axis) for k in range(3)) / 3
    return grey


def _blocks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of whole blocks."""
    rows, columns = values.shape[0] // _BLOCK, values.shape[1] // _BLOCK
    cut = values[: rows * _BLOCK, : columns * _BLOCK]
    means: NDArray[np.float64] = cut.reshape(rows, _BLOCK, columns, _BLOCK).mean(axis=(1, 3))
    return means
