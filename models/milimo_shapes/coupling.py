"""Pairs noise with pictures so that objects lie where they are most like the noise.

Words leave the place of an object open. With noise drawn apart from pictures, the first steps can only say the mean of
all places, and a few steps never leave it. So each picture is learned from noise that is less like the same object at
any other place that it could have: couplings by optimal transport, which make paths from noise to pictures straighter
(Pooladian et al. 2023, arXiv 2304.14772; Tong et al. 2023, arXiv 2302.00482). Noise from all pictures together stays as
normal as it was, so that nothing changes for those who draw from the model.

One object that nothing but words tell of needs no place of its own: it settles in the middle, and only two are coupled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milimo_shapes.places import Choice, Place

# Less than that share of what an object adds to latents where it adds most is the autoencoder's unrest.
_SLIGHT: Final = 0.03


def couple(noise: torch.Tensor, added: torch.Tensor, choices: Sequence[Sequence[Choice]], cell: float) -> torch.Tensor:
    """The noise, of each of the batch shifted, and wrapped around, to where its objects lie as they do.

    `noise` and `added`, what objects add to the latents of the background, [B, C, …, rows, columns]; `choices` of each
    of the batch; a cell of latents is `cell` shorter sides of the canvas. Shifted noise is noise still.
    """
    rows, columns = noise.shape[-2:]
    coupled = []
    for each, whole, open_places in zip(noise, added, choices, strict=True):
        if not open_places:
            coupled.append(each)
            continue
        regret = torch.zeros(rows, columns)
        for part, choice in zip(_parts(whole, open_places, cell), open_places, strict=True):
            likeness = _correlation(each, part)
            # Shifted so far, at its own place and at others.
            others = [torch.roll(likeness, (-down, -right), dims=(0, 1)) for down, right in choice.shifts(cell)]
            regret += torch.stack(others).amax(dim=0) - likeness
        best = torch.nonzero(regret <= regret.min())
        down, right = best[int(torch.randint(len(best), ()))].tolist()
        coupled.append(torch.roll(each, (-down, -right), dims=(-2, -1)))
    return torch.stack(coupled)


def move(made: torch.Tensor, added: torch.Tensor, choices: Sequence[Sequence[Choice]], cell: float) -> torch.Tensor:
    """`added` with each object moved to the place that it could have where what was `made` is most like it.

    `made` is what was made of objects so far, maybe only faint; other arguments as of `couple`. Latents of an object
    that lies whole cells away are the same, but for a little at the edges.
    """
    moved = []
    for each, whole, open_places in zip(made, added, choices, strict=True):
        result = whole
        for part, choice in zip(_parts(whole, open_places, cell) if open_places else [], open_places, strict=True):
            likeness = _correlation(each, part)
            shift = max(choice.shifts(cell), key=lambda shift: float(likeness[shift]))
            if shift != (0, 0):
                result = result - part + torch.roll(part, shift, dims=(-2, -1))
        moved.append(result)
    return torch.stack(moved)


def settle(
    added: torch.Tensor, choices: Sequence[Sequence[Choice]], cell: float, middles: Sequence[Place]
) -> torch.Tensor:
    """`added` with the one object that has a choice, if it is only one, moved to its place nearest to the middle.

    `middles` are x and y of each of the batch, in shorter sides; other arguments as of `move`.
    """
    return torch.stack(
        [
            torch.roll(whole, open_places[0].shift_to(middle, cell), dims=(-2, -1)) if len(open_places) == 1 else whole
            for whole, open_places, middle in zip(added, choices, middles, strict=True)
        ]
    )


def _correlation(noise: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """How like the part is to noise that is shifted up and left by so many [rows, columns]."""
    spectrum = torch.fft.rfft2(noise) * torch.fft.rfft2(part).conj()
    likeness: torch.Tensor = torch.fft.irfft2(spectrum.flatten(0, -3).sum(dim=0), s=noise.shape[-2:])
    return likeness.cpu()


def _parts(whole: torch.Tensor, choices: Sequence[Choice], cell: float) -> list[torch.Tensor]:
    """What each object adds: a second one, which keeps still, around its place, the first one everything else."""
    strength = whole.square().flatten(0, -3).sum(dim=0)
    whole = whole * (strength > _SLIGHT * strength.max())
    if len(choices) == 1:
        return [whole]
    x, y = choices[1].own
    rows = (torch.arange(whole.shape[-2]) + 0.5) * cell - y
    columns = (torch.arange(whole.shape[-1]) + 0.5) * cell - x
    reach = choices[1].radius + cell / 2
    is_second = ((rows.abs()[:, None] < reach) & (columns.abs()[None] < reach)).to(whole)
    return [whole * (1.0 - is_second), whole * is_second]
