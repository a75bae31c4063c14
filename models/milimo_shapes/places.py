"""Posed objects: they begin at places of a coarse grid, at the size and the pace that are usual.

Words tell all of a posed object but its place, and there are few of those to choose from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from milimo_shapes.scene import RADIUS, Colour, Motion, Size, Thing

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    from milimo_shapes.outlines import Shape
    from milimo_shapes.scene import Scene

# x and y of a centre, in shorter sides.
Place: TypeAlias = tuple[float, float]

# Between places, in shorter sides: 32 pixels on a canvas of 256 × 128. Along upright movements, which have little room,
# and where nothing fits, places are closer.
_GRID: Final = 0.25
_HALF_GRID: Final = _GRID / 2
_GAP: Final = 0.06  # between two objects
_NEAR: Final = 1e-4


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Where an object lies, and where it could lie as well, its own place among them."""

    own: Place
    possible: tuple[Place, ...]
    radius: float

    def within(self, part: torch.Tensor, cell: float) -> Choice:
        """The choice of those places that lie where `part` [rows, columns], of cells that long, is not 0."""
        return replace(
            self,
            possible=tuple(
                place
                for place in self.possible
                if place == self.own or part[int(place[1] / cell), int(place[0] / cell)] > 0
            ),
        )

    def shifts(self, cell: float) -> list[tuple[int, int]]:
        """From its own place to those that lie whole cells away: rows and columns, (0, 0) among them."""
        x, y = self.own
        whole = ((round((b - y) / cell), round((a - x) / cell), a - x, b - y) for a, b in self.possible)
        return [
            (down, right)
            for down, right, across, along in whole
            if abs(down * cell - along) + abs(right * cell - across) < _NEAR
        ]

    def shift_to(self, middle: Place, cell: float) -> tuple[int, int]:
        """The shift to the place nearest to `middle`, and of two that are as near to the upper or left one."""

        def distance(shift: tuple[int, int]) -> tuple[float, tuple[int, int]]:
            across = self.own[0] + shift[1] * cell - middle[0]
            along = self.own[1] + shift[0] * cell - middle[1]
            return round(across**2 + along**2, 4), shift

        return min(self.shifts(cell), key=distance)


def begin(motion: Motion, across: float, down: float) -> tuple[float, float]:
    """Where an object begins, of two numbers from 0 to 1: what moves has some way to go."""
    if motion in (Motion.RIGHT, Motion.LEFT):
        across = 0.3 * across if motion is Motion.RIGHT else 1.0 - 0.3 * across
    if motion in (Motion.UP, Motion.DOWN):
        down = 0.3 * down if motion is Motion.DOWN else 1.0 - 0.3 * down
    return across, down


def pose(thing: Thing, *, aspect: float) -> Thing:
    """The object at the nearest place of the grid, on canvases with that width ÷ height, without what is its own."""
    plain = replace(thing, pace=1.0, scale=1.0)
    across, down = plain.beginnings(aspect, 1.0)
    is_upright = thing.motion in (Motion.UP, Motion.DOWN)
    return replace(
        plain,
        across=_snap(thing.across, *across, _GRID),
        down=_snap(thing.down, *down, _HALF_GRID if is_upright else _GRID),
    )


def open_places(scene: Scene, *, aspect: float, told: int) -> list[Choice]:
    """The choices of the first `told` objects of a scene, which are posed: of one object, or of two as they lie.

    Two keep the side on which the one lies of the other. A further object, which is not told of, stays where it is.
    """
    own = [place_of(thing, aspect) for thing in scene.things]
    possible = [_places(thing.shape, thing.size, thing.motion, aspect) for thing in scene.things[:told]]
    radii = [RADIUS[thing.size] for thing in scene.things]
    if len(scene.things) == 1:
        return [Choice(own=own[0], possible=possible[0], radius=radii[0])]
    distance = sum(radii) + _GAP

    def fits(first: Place, second: Place) -> bool:
        is_apart = max(abs(first[0] - second[0]), abs(first[1] - second[1])) > distance
        return is_apart and (told == 1 or _side(first, second) == _side(*own))

    def choice(index: int, places: Iterable[Place]) -> Choice:
        return Choice(own=own[index], possible=tuple(dict.fromkeys((own[index], *places))), radius=radii[index])

    if told == 1:
        return [choice(0, (first for first in possible[0] if fits(first, own[1])))]
    return [
        choice(0, (first for first in possible[0] if any(fits(first, second) for second in possible[1]))),
        choice(1, (second for second in possible[1] if fits(own[0], second))),
    ]


def _side(first: Place, second: Place) -> tuple[bool, bool]:
    """Whether they lie beside rather than above each other, and whether the first comes first."""
    x, y = first[0] - second[0], first[1] - second[1]
    is_beside = abs(x) > abs(y)
    return is_beside, (x if is_beside else y) < 0


def place_of(thing: Thing, aspect: float) -> Place:
    """Where an object begins, on canvases with that width ÷ height."""
    across, down = thing.beginnings(aspect, 1.0)
    x, y = (low + part * (high - low) for part, (low, high) in ((thing.across, across), (thing.down, down)))
    return round(x, 6), round(y, 6)


@cache
def _places(shape: Shape, size: Size, motion: Motion, aspect: float) -> tuple[Place, ...]:
    """All places where a posed object may begin."""
    xs, ys = set(), set()
    for part in np.linspace(0.0, 1.0, 65):
        across, down = begin(motion, float(part), float(part))
        thing = Thing(shape=shape, colour=Colour.RED, size=size, motion=motion, across=across, down=down)
        x, y = place_of(pose(thing, aspect=aspect), aspect)
        xs.add(x)
        ys.add(y)
    return tuple((x, y) for y in sorted(ys) for x in sorted(xs))


def _snap(fraction: float, low: float, high: float, step: float) -> float:
    """The fraction of low … high that is nearest to `fraction` among multiples of the step, or of a half of it …"""
    first, last = int(np.ceil(low / step)), int(np.floor(high / step))
    if first > last:
        return _snap(fraction, low, high, step / 2)
    nearest = np.clip(round((low + fraction * (high - low)) / step), first, last) * step
    return float((nearest - low) / (high - low))
