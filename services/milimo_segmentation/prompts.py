"""Points and boxes that say which object is meant, in pixels of the input image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from milimo_runtime.errors import InvalidArgument

from milimo_segmentation import defaults

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Point:
    """A click at x (from the left) and y (from the top): on the object, or, when not positive, beside it."""

    x: float
    y: float
    positive: bool = True


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box around an object: left, top, right, bottom, with x0 < x1 and y0 < y1."""

    x0: float
    y0: float
    x1: float
    y1: float


def check_prompts(points: Sequence[Point], boxes: Sequence[Box], *, width: int, height: int) -> None:
    """Raises `InvalidArgument`, naming `points[i].x` and the like, unless the prompts fit an image of that size.

    At least one point or box; coordinates from 0 to the width or height, both included; several boxes mean several
    objects, and then no points, which could not be told apart.
    """
    if not points and not boxes:
        raise InvalidArgument("points", "is empty, and so is boxes; give at least one point or box")
    if len(points) > defaults.MAX_POINTS:
        raise InvalidArgument("points", f"has {len(points)} points; at most {defaults.MAX_POINTS} are accepted")
    if len(boxes) > defaults.MAX_BOXES:
        raise InvalidArgument("boxes", f"has {len(boxes)} boxes; at most {defaults.MAX_BOXES} are accepted")
    if points and len(boxes) > 1:
        raise InvalidArgument("boxes", "has several boxes, each an object of its own; points go with one box at most")
    for index, point in enumerate(points):
        _check(f"points[{index}].x", point.x, width)
        _check(f"points[{index}].y", point.y, height)
    for index, box in enumerate(boxes):
        for name, value, limit in (("x0", box.x0, width), ("y0", box.y0, height)):
            _check(f"boxes[{index}].{name}", value, limit)
        for name, value, limit, lower in (("x1", box.x1, width, box.x0), ("y1", box.y1, height, box.y0)):
            _check(f"boxes[{index}].{name}", value, limit)
            if value <= lower:
                raise InvalidArgument(
                    f"boxes[{index}].{name}", f"is {value:g}; expected more than {name[0]}0, {lower:g}"
                )


def _check(field: str, value: float, limit: int) -> None:
    if not 0 <= value <= limit:  # also false for NaN
        raise InvalidArgument(field, f"is {value:g}; expected 0 to {limit}, inside the image")
