"""Staged objects: where those of clips lie of which only words tell, so that words tell all of a clip.

A small transformer makes clips in few steps, and nothing in noise tells all frames of a clip alike where an object is.
So every object begins in the middle, and what moves takes all of a clip to the edge: which way it goes can then be
learned from where it lies on average. Two objects begin on either side, by how they lie to each other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from milimo_shapes.places import place_of
from milimo_shapes.scene import Motion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from milimo_shapes.scene import Thing

_MIDDLE: Final = 0.5
_LEAVING: Final = (Motion.LEFT, Motion.RIGHT, Motion.UP, Motion.DOWN)
_PACE: Final = 0.6
# Of two objects that lie beside, or above, each other: fractions of their room.
_APART: Final = (0.1, 0.9)


def stage_alone(thing: Thing) -> Thing:
    """The object in the middle, at the usual size and its staged pace."""
    return replace(stage_pace(thing), across=_MIDDLE, down=_MIDDLE, scale=1.0)


def stage_pace(thing: Thing) -> Thing:
    """The object at the pace of all that do the same, slow if it leaves for an edge."""
    return replace(thing, pace=_PACE if thing.motion in _LEAVING else 1.0)


def arrangements(first: Thing, second: Thing, *, aspect: float) -> Iterator[tuple[Thing, Thing]]:
    """Both objects staged, on canvases with that width ÷ height: nearest to how they lie first, then otherwise.

    They may touch as they move.
    """
    one, other = stage_alone(first), stage_alone(second)
    (x, y), (other_x, other_y) = (place_of(thing, aspect) for thing in (first, second))
    beside, above = _APART[:: 1 if x < other_x else -1], _APART[:: 1 if y < other_y else -1]
    besides = [(replace(one, across=a), replace(other, across=b)) for a, b in (beside, beside[::-1])]
    aboves = [(replace(one, down=a), replace(other, down=b)) for a, b in (above, above[::-1])]
    is_beside = abs(x - other_x) > abs(y - other_y)
    for pair in zip(besides, aboves, strict=True):
        yield from pair if is_beside else pair[::-1]
