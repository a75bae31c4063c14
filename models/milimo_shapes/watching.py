"""Says what happens in a clip: follows each object from picture to picture and names its movement."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from milimo_shapes.judge import look
from milimo_shapes.scene import Motion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milimo_shapes.arrays import Bytes, Floats
    from milimo_shapes.judge import Seen
    from milimo_shapes.outlines import Shape
    from milimo_shapes.scene import Colour, Size

# Lengths are in units of the shorter side.
_MOVED: Final = 0.06
_GROWN: Final = 1.22
# A bounce goes down at least so far after it went up, and up and down are more than the way that is left in the end.
_LEAP: Final = 0.06
# An object that is seen in fewer of the pictures is none.
_PRESENCE: Final = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """An object through a clip. Series are over the pictures it was seen in, lengths in units of the shorter side."""

    colour: Colour
    shape: Shape
    size: Size
    motion: Motion
    pictures: tuple[int, ...]
    x: Floats
    y: Floats
    radius: Floats
    # The part of the pictures in which it is there, and there with the colour and shape that it has most often.
    presence: float
    constancy: float


def watch(pictures: Sequence[Bytes]) -> tuple[Track, ...]:
    """The objects of a clip, given as pictures [H, W, 3] in order, evenly spaced in time; the most seen first.

    An object is followed by its colour: no two of a scene have the same. Bounces show when there are about five
    pictures or more to each.
    """
    sightings: dict[Colour, list[tuple[int, Seen]]] = {}
    for index, picture in enumerate(pictures):
        for seen in look(picture):
            of_colour = sightings.setdefault(seen.colour, [])
            # The largest of a colour comes first; others are reflections or specks.
            if not of_colour or of_colour[-1][0] != index:
                of_colour.append((index, seen))
    tracks = [
        _track(each, len(pictures)) for each in sightings.values() if len(each) >= max(1, _PRESENCE * len(pictures))
    ]
    return tuple(sorted(tracks, key=lambda track: -track.presence))


def name_motion(x: Floats, y: Floats, radius: Floats) -> Motion:
    """The movement that these series, over time, show."""
    ends = max(1, len(x) // 12)
    across = float(np.mean(x[-ends:]) - np.mean(x[:ends]))
    down = float(np.mean(y[-ends:]) - np.mean(y[:ends]))
    if _rises_and_falls(y):
        return Motion.BOUNCING
    if float(np.mean(radius[-ends:])) > _GROWN * float(np.mean(radius[:ends])):
        return Motion.GROWING
    if max(abs(across), abs(down)) < _MOVED:
        return Motion.STILL
    if abs(across) > abs(down):
        return Motion.RIGHT if across > 0 else Motion.LEFT
    return Motion.DOWN if down > 0 else Motion.UP


def _rises_and_falls(y: Floats) -> bool:
    """Whether an object goes up and comes down again, at least once, by more than a tremble."""
    highest_before = np.minimum.accumulate(y)
    falls = float(np.max(y - highest_before))
    lowest_before = np.maximum.accumulate(y)
    rises = float(np.max(lowest_before - y))
    net = abs(float(y[-1] - y[0]))
    return min(falls, rises) > _LEAP and float(np.abs(np.diff(y)).sum()) > 1.5 * net


def _track(sightings: list[tuple[int, Seen]], total: int) -> Track:
    seen = [each for _, each in sightings]
    x, y, radius = (np.array([getattr(each, name) for each in seen]) for name in ("x", "y", "radius"))
    shape, times = Counter(each.shape for each in seen).most_common(1)[0]
    # A growing object's size is that at its start.
    size = Counter(each.size for each in seen[: max(1, len(seen) // 4)]).most_common(1)[0][0]
    return Track(
        colour=seen[0].colour,
        shape=shape,
        size=size,
        motion=name_motion(x, y, radius),
        pictures=tuple(index for index, _ in sightings),
        x=x,
        y=y,
        radius=radius,
        presence=len(seen) / total,
        constancy=times / total,
    )
