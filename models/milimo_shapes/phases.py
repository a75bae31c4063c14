"""What a step learns from: it is drawn, and what it is drawn from changes as the training goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np

Drawn = TypeVar("Drawn")


def draw_by_phase(
    phases: Sequence[tuple[float, Mapping[Drawn, float]]], done: float, random: np.random.Generator
) -> Drawn:
    """One of those that the phase draws from, with its probability.

    A phase lasts until that part of the steps is done, the last one to the end.
    """
    chances = next((chances for end, chances in phases if done < end), phases[-1][1])
    return list(chances)[int(random.choice(len(chances), p=list(chances.values())))]


def columns(names: Iterable[str], drawn: str, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """The loss, and a column for each of `names`, of which only that of `drawn` has a number: for curves."""
    return {"loss": loss, **{name: loss if name == drawn else torch.tensor(torch.nan) for name in names}}
