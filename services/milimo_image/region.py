"""The part of an image that inpainting works on, and its size inside the model. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from milimo_image import defaults
from milimo_image.reference_size import scaled_size


@dataclass(frozen=True, kw_only=True)
class Region:
    """A box of an image, in pixels; it is scaled to `scaled` and filled up to `model`, multiples of 16."""

    left: int
    top: int
    right: int
    bottom: int
    scaled: tuple[int, int]
    model: tuple[int, int]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom."""
        return self.left, self.top, self.right, self.bottom

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in the image."""
        return self.right - self.left, self.bottom - self.top


def region_of(
    size: tuple[int, int], masked: tuple[int, int, int, int] | None = None, padding: int | None = None
) -> Region:
    """The region to work on in an image of (width, height): all of it, or with `padding` the box `masked`, widened by
    so many pixels and to at least 64 a side, as far as the image goes.
    """
    width, height = size
    left, top, right, bottom = 0, 0, width, height
    if masked is not None and padding is not None:
        left, right = _span(masked[0], masked[2], padding, width)
        top, bottom = _span(masked[1], masked[3], padding, height)
    scaled = scaled_size(right - left, bottom - top, defaults.MAX_INPAINT_PIXELS)
    multiple = defaults.SIDE_MULTIPLE
    return Region(
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        scaled=scaled,
        model=(math.ceil(scaled[0] / multiple) * multiple, math.ceil(scaled[1] / multiple) * multiple),
    )


def _span(start: int, end: int, padding: int, length: int) -> tuple[int, int]:
    start, end = max(0, start - padding), min(length, end + padding)
    lacking = min(defaults.MIN_SIDE, length) - (end - start)
    if lacking > 0:
        start = min(max(0, start - lacking // 2), length - (end - start) - lacking)
        end = start + min(defaults.MIN_SIDE, length)
    return start, end
