"""What there is to see: coloured shapes on a background, still or moving, as functions of time.

Lengths are in units of the canvas' shorter side, so that a scene can be drawn on any canvas; places are fractions of
the room that an object has on that canvas (0 is as far left or up as it goes, 1 as far right or down). Time is in
seconds. Nothing here is random: see `sampling`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from milimo_shapes.outlines import Shape, reach

if TYPE_CHECKING:
    from collections.abc import Mapping

    from milimo_shapes.arrays import Floats

Rgb: TypeAlias = tuple[int, int, int]


class Colour(StrEnum):
    """The colour of an object."""

    RED = "red"
    GREEN = "green"
    BLUE = "blue"
    YELLOW = "yellow"
    WHITE = "white"
    PURPLE = "purple"


class Size(StrEnum):
    """How large an object is; a growing one goes from the one to the other."""

    SMALL = "small"
    LARGE = "large"


class Motion(StrEnum):
    """What an object does."""

    STILL = "still"
    LEFT = "left"
    RIGHT = "right"
    UP = "up"
    DOWN = "down"
    GROWING = "growing"
    BOUNCING = "bouncing"


class Backdrop(StrEnum):
    """The colour of a background, or of one end of a graded one."""

    BLACK = "black"
    GRAY = "gray"
    BROWN = "brown"
    TEAL = "teal"


RGB: Final[Mapping[Colour, Rgb]] = {
    Colour.RED: (225, 35, 35),
    Colour.GREEN: (40, 190, 60),
    Colour.BLUE: (45, 85, 235),
    Colour.YELLOW: (245, 220, 40),
    Colour.WHITE: (245, 245, 245),
    Colour.PURPLE: (165, 50, 205),
}
# Dim and dull, so that every object stands out from every background.
BACKDROP_RGB: Final[Mapping[Backdrop, Rgb]] = {
    Backdrop.BLACK: (14, 14, 18),
    Backdrop.GRAY: (104, 104, 108),
    Backdrop.BROWN: (92, 62, 38),
    Backdrop.TEAL: (18, 84, 88),
}
# Radius, in shorter sides. The small one fills a cell of 32 pixels on a canvas of 256 × 128: 21 pixels.
RADIUS: Final[Mapping[Size, float]] = {Size.SMALL: 0.165, Size.LARGE: 0.25}

# Shorter sides per second; upright movements have less room on a wide canvas.
SPEED: Final[Mapping[Motion, tuple[float, float]]] = {
    Motion.LEFT: (-0.25, 0.0),
    Motion.RIGHT: (0.25, 0.0),
    Motion.UP: (0.0, -0.11),
    Motion.DOWN: (0.0, 0.11),
}
GROWTH: Final = 0.024  # of the radius, shorter sides per second
GROWN_RADIUS: Final = 0.28
BOUNCE_HEIGHT: Final = 0.24
BOUNCE_SECONDS: Final = 1.2
# Between an object and the edge of the canvas.
MARGIN: Final = 0.03


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One object. `size` of a growing one is that at the start."""

    shape: Shape
    colour: Colour
    size: Size
    motion: Motion
    # Where it begins, as fractions of its room. A bouncing one begins on its floor.
    across: float
    down: float
    # Factors near 1 that make objects differ.
    pace: float = 1.0
    scale: float = 1.0

    def radius(self, seconds: Floats) -> Floats:
        """Its radius at these times, in shorter sides."""
        start = RADIUS[self.size] * self.scale
        if self.motion is not Motion.GROWING:
            return np.full_like(seconds, start)
        return np.minimum(start + GROWTH * self.pace * np.maximum(seconds, 0.0), GROWN_RADIUS)

    def room(self, width: float, height: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """Lowest and highest x, and y, of its centre on a canvas of that size, all in shorter sides."""
        largest = float(self.radius(np.array([1e3]))[0])
        box = reach(self.shape)
        return (
            (MARGIN + box.left * largest, width - MARGIN - box.right * largest),
            (MARGIN + box.up * largest, height - MARGIN - box.down * largest),
        )

    def beginnings(self, width: float, height: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """Like `room`, of the place at which it begins, which `across` and `down` are fractions of."""
        across, (low_y, high_y) = self.room(width, height)
        leap = min(BOUNCE_HEIGHT, high_y - low_y) if self.motion is Motion.BOUNCING else 0.0
        return across, (low_y + leap, high_y)

    def place(self, seconds: Floats, width: float, height: float) -> tuple[Floats, Floats]:
        """Its centre at these times, x and y in shorter sides, on a canvas of that size in shorter sides.

        What moves comes to rest at the edge. The centre is that of the outline's circle, not of its area.
        """
        (low_x, high_x), (low_y, high_y) = self.room(width, height)
        (first_x, last_x), (first_y, last_y) = self.beginnings(width, height)
        speed_x, speed_y = SPEED.get(self.motion, (0.0, 0.0))
        x = first_x + self.across * (last_x - first_x) + speed_x * self.pace * seconds
        y = first_y + self.down * (last_y - first_y) + speed_y * self.pace * seconds
        if self.motion is Motion.BOUNCING:
            y = y - (first_y - low_y) * np.abs(np.sin(np.pi * seconds * self.pace / BOUNCE_SECONDS))
        return np.clip(x, low_x, high_x), np.clip(y, low_y, high_y)


@dataclass(frozen=True, kw_only=True)
class Background:
    """A plain background, or with `end` one that fades into that colour, downwards or to the right."""

    start: Backdrop
    end: Backdrop | None = None
    sideways: bool = False


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One or two objects, of different colours, that never touch, on a background."""

    things: tuple[Thing, ...]
    background: Background
