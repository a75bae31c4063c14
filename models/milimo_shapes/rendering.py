"""Draws scenes, anti-aliased, on a canvas of any size, with the exact truth beside the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from milimo_shapes.outlines import reach, signed_distance
from milimo_shapes.scene import BACKDROP_RGB, RGB

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from milimo_shapes.arrays import Bytes, Floats
    from milimo_shapes.scene import Background, Scene, Thing


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """Size of the pictures in pixels, their number, their rate, and the time of the first."""

    width: int
    height: int
    frames: int = 1
    fps: float = 25.0
    start: float = 0.0

    @property
    def side(self) -> int:
        """The shorter side, in pixels: the unit of a scene's lengths."""
        return min(self.width, self.height)

    def seconds(self) -> Floats:
        """The frames' times, [frames]."""
        return self.start + np.arange(self.frames) / self.fps


def rough_film(aspect: float) -> Canvas:
    """Five pictures a second for five seconds, on a canvas with that width ÷ height: how objects lie all the time."""
    return Canvas(width=round(1000 * aspect), height=1000, frames=26, fps=5.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """A drawn scene: n objects, T frames of H × W pixels."""

    frames: Bytes  # [T, H, W, 3], RGB
    coverage: NDArray[np.float32]  # [n, T, H, W], the part of each pixel that the object covers, 0 to 1
    centres: Floats  # [n, T, 2], x and y in pixels
    radii: Floats  # [n, T], in pixels

    @property
    def masks(self) -> NDArray[np.bool_]:
        """[n, T, H, W]: pixels that the object covers by half or more."""
        return self.coverage >= 0.5


def draw(scene: Scene, canvas: Canvas) -> Clip:
    """Draws the scene. The same scene and canvas give the same bytes."""
    shape = (len(scene.things), canvas.frames)
    coverage = np.zeros((*shape, canvas.height, canvas.width), np.float32)
    centres = np.empty((*shape, 2))
    radii = np.empty(shape)
    ground = _ground(scene.background, canvas)
    picture = np.empty((canvas.frames, *ground.shape), np.uint8)
    picture[:] = np.rint(ground)
    frame = np.arange(canvas.frames)[:, None, None]
    for index, thing in enumerate(scene.things):
        centres[index], radii[index] = path(thing, canvas)
        rows, columns, part = _window(thing, centres[index], radii[index], canvas)
        coverage[index][frame, rows, columns] = part
        # Objects do not overlap, so that the background is what lies below; it is rounded once, at the end.
        below = ground[rows, columns]
        colour = np.array(RGB[thing.colour], np.float32)
        drawn = np.rint(below + part[..., None] * (colour - below)).astype(np.uint8)
        at = np.nonzero(part)
        picture[at[0], rows[at[0], at[1], 0], columns[at[0], 0, at[2]]] = drawn[at]
    return Clip(frames=picture, coverage=coverage, centres=centres, radii=radii)


def path(thing: Thing, canvas: Canvas) -> tuple[Floats, Floats]:
    """Centres [T, 2] and radii [T] of an object on a canvas, in pixels."""
    seconds = canvas.seconds()
    side = canvas.side
    x, y = thing.place(seconds, canvas.width / side, canvas.height / side)
    return np.stack([x, y], axis=-1) * side, thing.radius(seconds) * side


def _ground(background: Background, canvas: Canvas) -> NDArray[np.float32]:
    """The background, [H, W, 3]."""
    first = np.array(BACKDROP_RGB[background.start], np.float32)
    last = first if background.end is None else np.array(BACKDROP_RGB[background.end], np.float32)
    across = np.linspace(0.0, 1.0, canvas.width, dtype=np.float32)[None, :, None]
    down = np.linspace(0.0, 1.0, canvas.height, dtype=np.float32)[:, None, None]
    ramp = np.broadcast_to(across if background.sideways else down, (canvas.height, canvas.width, 1))
    return first + ramp * (last - first)


def _window(
    thing: Thing, centres: Floats, radii: Floats, canvas: Canvas
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Rows [T, k, 1] and columns [T, 1, k] of a window around the object in each frame, and its coverage [T, k, k].

    An object may be larger than the canvas or beyond its edge: indices stay within, and no pixel is named twice.
    """
    box = reach(thing.shape)
    largest = float(radii.max())
    tall = min(int(np.ceil((box.up + box.down) * largest)) + 4, canvas.height)
    wide = min(int(np.ceil((box.left + box.right) * largest)) + 4, canvas.width)
    top = np.clip(np.floor(centres[:, 1] - box.up * radii - 1), 0, canvas.height - tall).astype(np.intp)
    left = np.clip(np.floor(centres[:, 0] - box.left * radii - 1), 0, canvas.width - wide).astype(np.intp)
    rows = top[:, None, None] + np.arange(tall)[None, :, None]
    columns = left[:, None, None] + np.arange(wide)[None, None, :]
    y = (rows + 0.5 - centres[:, 1, None, None]).astype(np.float32)
    x = (columns + 0.5 - centres[:, 0, None, None]).astype(np.float32)
    distance = signed_distance(thing.shape, x, y, radii[:, None, None].astype(np.float32))
    return rows, columns, np.clip(0.5 - distance, 0.0, 1.0).astype(np.float32)
