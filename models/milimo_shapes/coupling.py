"""Lets the noise say where objects lie, so that what a model makes of it is one picture and not a blur of several.

Words leave the place of an object open. With noise drawn apart from pictures, the first steps can only say the mean of
all places, and a few steps never leave it. So each place an object may have stands for one value of the noise, and
pictures are learned from noise in which the greatest of these values is that of the object's own place: couplings that
make paths from noise to pictures straighter (Pooladian et al. 2023, arXiv 2304.14772). The values only change places
with each other. What is drawn apart stays so: where all places are as likely, noise is as normal as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_shapes.places import STEP

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from milimo_shapes.places import Choice, Place


def couple(noise: torch.Tensor, choices: Sequence[Sequence[Choice]], *, cell: float) -> None:
    """Changes noise [B, C, rows, columns] in place; `choices` are those of each of the batch.

    A cell of it is `cell` shorter sides of the canvas.
    """
    for grid, open_places in zip(noise, choices, strict=True):
        for number, choice in enumerate(open_places):
            stand_for = [_index(place, number, cell) for place in choice.possible]
            own = _index(choice.own, number, cell)
            greatest = max(stand_for, key=lambda index: float(grid[index]))
            grid[own], grid[greatest] = grid[greatest].clone(), grid[own].clone()


def _index(place: Place, number: int, cell: float) -> tuple[int, int, int]:
    """Channel, row and column of the value that stands for that place of the scene's object `number`."""
    x, y = place
    finer = max(1, round(cell / STEP))
    within = finer * (int(y / STEP + 1e-6) % finer) + int(x / STEP + 1e-6) % finer
    return number * finer * finer + within, int(y / cell + 1e-6), int(x / cell + 1e-6)
