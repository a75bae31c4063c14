"""The size in which a reference image reaches the model. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from milimo_image import defaults

if TYPE_CHECKING:
    from milimo_runtime.device import DevicePlan


def reference_pixels(count: int, devices: DevicePlan | type[DevicePlan]) -> int:
    """Most pixels that each of `count` references may have on these devices: a single one may be larger."""
    return devices.reference_pixels_single if count == 1 else devices.reference_pixels_several


def scaled_size(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """Width and height in pixels, scaled down in proportion when they have more than `max_pixels`."""
    if width * height <= max_pixels:
        return width, height
    scale = math.sqrt(max_pixels / (width * height))
    return int(width * scale), int(height * scale)


def cropped_size(width: int, height: int) -> tuple[int, int]:
    """The largest size of multiples of 16 within this one."""
    multiple = defaults.SIDE_MULTIPLE
    return width // multiple * multiple, height // multiple * multiple
