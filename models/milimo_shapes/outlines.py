"""The outlines of the shapes: signed distances, areas and reach, for a radius of 1.

y points down, shapes stand upright. All have nearly the area of the circle, so that size can be told from area.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Shape(StrEnum):
    """What an object is."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How far an outline goes from its centre."""

    left: float
    right: float
    up: float
    down: float


_HALF_SIDE: Final = math.sqrt(math.pi) / 2  # of the square
_CORNER: Final = 1.5  # from the triangle's centre to a corner
_TIP: Final = 1.4  # from the star's centre to a tip
_NOTCH: Final = 0.55 * _TIP  # and to the corner between two tips
_FIFTH: Final = 2 * math.pi / 5

_REACH: Final = {
    Shape.CIRCLE: Reach(left=1.0, right=1.0, up=1.0, down=1.0),
    Shape.SQUARE: Reach(left=_HALF_SIDE, right=_HALF_SIDE, up=_HALF_SIDE, down=_HALF_SIDE),
    Shape.TRIANGLE: Reach(
        left=_CORNER * math.sin(math.pi / 3), right=_CORNER * math.sin(math.pi / 3), up=_CORNER, down=_CORNER / 2
    ),
    Shape.STAR: Reach(
        left=_TIP * math.sin(_FIFTH), right=_TIP * math.sin(_FIFTH), up=_TIP, down=_TIP * math.cos(_FIFTH / 2)
    ),
}
_AREA: Final = {
    Shape.CIRCLE: math.pi,
    Shape.SQUARE: 4 * _HALF_SIDE**2,
    Shape.TRIANGLE: 3 * math.sqrt(3) / 4 * _CORNER**2,
    Shape.STAR: 5 * _TIP * _NOTCH * math.sin(_FIFTH / 2),
}


def reach(shape: Shape) -> Reach:
    """How far the outline of radius 1 goes from its centre."""
    return _REACH[shape]


def area(shape: Shape) -> float:
    """The area of the outline of radius 1."""
    return _AREA[shape]


def signed_distance(
    shape: Shape, x: NDArray[np.floating], y: NDArray[np.floating], radius: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Distance of points from the outline, negative inside. Beyond corners it is a little short, as of half-planes.

    All in the same unit and broadcast together.
    """
    distance: NDArray[np.floating]
    if shape is Shape.CIRCLE:
        distance = np.hypot(x, y) - radius
    elif shape is Shape.SQUARE:
        distance = np.maximum(np.abs(x), np.abs(y)) - _HALF_SIDE * radius
    elif shape is Shape.TRIANGLE:
        slope = math.sin(math.pi / 3) * np.abs(x) - y / 2
        distance = np.maximum(slope, y) - (_CORNER / 2) * radius
    else:
        # One tip stands for all ten halves: the angle from the nearest tip, and the line from there to the notch.
        angle = np.abs((np.arctan2(x, -y) + _FIFTH / 2) % _FIFTH - _FIFTH / 2)
        notch_x, notch_y = _NOTCH * math.cos(_FIFTH / 2), _NOTCH * math.sin(_FIFTH / 2)
        length = math.hypot(_TIP - notch_x, notch_y)
        normal_x, normal_y = notch_y / length, (_TIP - notch_x) / length
        distance = np.hypot(x, y) * (np.cos(angle) * normal_x + np.sin(angle) * normal_y) - radius * (_TIP * normal_x)
    return distance
