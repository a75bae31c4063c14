"""Connected regions of a mask, in numpy: rows are cut into runs, and runs that touch are joined."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from milimo_shapes.arrays import Mask


def label_regions(mask: Mask) -> tuple[NDArray[np.int32], int]:
    """Numbers the regions of a mask [H, W], joined at sides, from 1; 0 is outside. Returns labels and their number."""
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded, axis=1)
    # In row-major order the k-th start belongs to the k-th end.
    rows, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    parents = list(range(len(rows)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    first_of_row = np.searchsorted(rows, np.arange(height + 1))
    for row in range(1, height):
        above, run = int(first_of_row[row - 1]), int(first_of_row[row])
        above_end, run_end = run, int(first_of_row[row + 1])
        while above < above_end and run < run_end:
            if starts[above] < ends[run] and starts[run] < ends[above]:
                parents[root(run)] = root(above)
            if ends[above] < ends[run]:
                above += 1
            else:
                run += 1
    roots = [root(run) for run in range(len(rows))]
    numbers = {each: index for index, each in enumerate(dict.fromkeys(roots), start=1)}
    labels = np.zeros((height, width), np.int32)
    for run, each in enumerate(roots):
        labels[rows[run], starts[run] : ends[run]] = numbers[each]
    return labels, len(numbers)


def grow(mask: Mask, pixels: int) -> Mask:
    """The mask and all within that many pixels of it, counted along rows and columns."""
    grown = mask.copy()
    for _ in range(pixels):
        before = grown
        grown = before.copy()
        grown[1:] |= before[:-1]
        grown[:-1] |= before[1:]
        grown[:, 1:] |= before[:, :-1]
        grown[:, :-1] |= before[:, 1:]
    return grown


def shrink(mask: Mask, pixels: int) -> Mask:
    """What of the mask is farther than that from its outside; the canvas' edge is no outside."""
    return ~grow(~mask, pixels)
