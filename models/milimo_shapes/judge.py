"""Says what pictures show, by plain analysis of colour and contour: no learned part, and nothing of how they were made.

A smooth background is fitted to the picture; what differs from it by much falls into regions; each region has the
colour that most of its inner pixels are nearest to, and the shape whose contour, as distance from the centre by angle,
has its rhythm: three beats for a triangle, four for a square, five for a star, none for a circle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from milimo_shapes.contours import classify_contour, polar_profile
from milimo_shapes.outlines import area
from milimo_shapes.regions import grow, label_regions, shrink
from milimo_shapes.scene import RADIUS, RGB, Colour, Size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from milimo_shapes.arrays import Bytes, Mask
    from milimo_shapes.outlines import Shape


# Of the largest difference of any channel between a pixel and the background, of 255.
_DIFFERENCE: Final = 44.0
# Regions smaller than this part of the squared shorter side are specks: the smallest object has 0.085.
_SPECK: Final = 0.012
# A region's core has at least this part of it; if eroding leaves less, all of the region counts.
_CORE: Final = 0.3
_ROUNDS: Final = 6
# The background is fitted to about so many pixels along the shorter side.
_FITTED_SIDE: Final = 32
# Between a small and a large radius, of the shorter side.
_LARGE_FROM: Final = (RADIUS[Size.SMALL] + RADIUS[Size.LARGE]) / 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """An object in a picture. Lengths are in units of the shorter side, places from the upper left corner."""

    colour: Colour
    shape: Shape
    size: Size
    # Centre of its area.
    x: float
    y: float
    # Of the circle whose shape of that area has it as its radius.
    radius: float
    # How far the contour's nearest shape is ahead of the second, 0 (undecided) to 1.
    certainty: float
    mask: Mask


def look(picture: Bytes) -> tuple[Seen, ...]:
    """The objects in a picture [H, W, 3] of RGB bytes, the largest first."""
    side = min(picture.shape[:2])
    pixels = _soften(picture.astype(np.float32))
    ground = _background(pixels)
    apart = np.abs(pixels - ground).max(axis=-1) > _DIFFERENCE
    labels, count = label_regions(apart)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    seen = []
    for label in range(1, count + 1):
        if sizes[label] >= _SPECK * side**2:
            for mask, colour in _colours(labels == label, pixels, _SPECK * side**2):
                seen.append(_describe(mask, colour, pixels, ground, side))
    return tuple(sorted(seen, key=lambda each: -each.radius))


def _describe(mask: Mask, colour: Colour, pixels: NDArray[np.float32], ground: NDArray[np.float32], side: int) -> Seen:
    """Everything about a region, from the part of each pixel that it covers."""
    core = _core(mask)
    own = np.median(pixels[core], axis=0)
    span = own - ground
    part = np.clip(((pixels - ground) * span).sum(axis=-1) / np.maximum((span**2).sum(axis=-1), 1.0), 0.0, 1.0)
    cover = np.where(grow(mask, 2), part, 0.0)
    total = float(cover.sum())
    rows, columns = np.indices(cover.shape)
    x = float((cover * (columns + 0.5)).sum() / total)
    y = float((cover * (rows + 0.5)).sum() / total)
    shape, certainty = classify_contour(polar_profile(cover, x, y, reach=1.9 * np.sqrt(total / np.pi)))
    radius = float(np.sqrt(total / area(shape))) / side
    return Seen(
        colour=colour,
        shape=shape,
        size=Size.LARGE if radius > _LARGE_FROM else Size.SMALL,
        x=x / side,
        y=y / side,
        radius=radius,
        certainty=certainty,
        mask=cover >= 0.5,
    )


def _colours(mask: Mask, pixels: NDArray[np.float32], speck: float) -> list[tuple[Mask, Colour]]:
    """The region's parts by colour: one, unless objects touch."""
    core = _core(mask)
    palette = np.array([RGB[colour] for colour in Colour], np.float32)
    votes = np.bincount(_nearest(pixels[core], palette), minlength=len(palette))
    winner = int(votes.argmax())
    strong = np.flatnonzero(votes >= max(0.25 * core.sum(), speck)).tolist()
    others = [int(index) for index in strong if index != winner]
    if not others:
        return [(mask, list(Colour)[winner])]
    nearest = np.full(mask.shape, -1)
    nearest[mask] = _nearest(pixels[mask], palette)
    return [(nearest == index, list(Colour)[index]) for index in (winner, *others)]


def _nearest(pixels: NDArray[np.float32], palette: NDArray[np.float32]) -> NDArray[np.intp]:
    """For each of the pixels [n, 3] the place in the palette [m, 3] that it is nearest to."""
    nearest: NDArray[np.intp] = np.linalg.norm(pixels[:, None] - palette, axis=-1).argmin(axis=-1)
    return nearest


def _core(mask: Mask) -> Mask:
    """The region without its rim, whose pixels are mixed with the background's."""
    core = shrink(mask, 2)
    return core if core.sum() >= _CORE * mask.sum() else mask


def _background(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The plane, per channel, that most of the picture lies on; what is far from it loses its say round by round."""
    height, width = pixels.shape[:2]
    rows, columns = np.indices((height, width), dtype=np.float32)
    terms = np.stack([np.ones_like(rows), rows / height - 0.5, columns / width - 0.5], axis=-1)
    # A plane needs few of the pixels.
    step = max(1, min(height, width) // _FITTED_SIDE)
    some = terms[::step, ::step]
    values = pixels[::step, ::step].reshape(-1, 3)
    # The rim has more background than the middle.
    rim = np.full(some.shape[:2], 0.02, np.float32)
    rim[:2] = rim[-2:] = 1.0
    rim[:, :2] = rim[:, -2:] = 1.0
    weight: NDArray[np.float32] = rim.reshape(-1)
    some = some.reshape(-1, 3)
    for scale in np.geomspace(120.0, 12.0, _ROUNDS):
        weighted = some * weight[:, None]
        plane = np.linalg.solve(weighted.T @ some + 1e-6 * np.eye(3), weighted.T @ values)
        distance = np.abs(values - some @ plane).max(axis=-1)
        weight = 1.0 / (1.0 + (distance / scale) ** 4)
    fitted: NDArray[np.float32] = (terms @ plane).astype(np.float32)
    return fitted


def _soften(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """A blur of [1 2 1] / 4 both ways, against noise."""
    for axis in (0, 1):
        padded = np.concatenate([pixels.take([0], axis), pixels, pixels.take([-1], axis)], axis)
        length = pixels.shape[axis]
        middle = [slice(None)] * 3
        middle[axis] = slice(1, length + 1)
        before, after = list(middle), list(middle)
        before[axis], after[axis] = slice(0, length), slice(2, length + 2)
        pixels = (padded[tuple(before)] + 2 * padded[tuple(middle)] + padded[tuple(after)]) / 4
    return pixels
