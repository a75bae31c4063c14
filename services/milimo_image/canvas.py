"""The canvas of outpainting: larger than the image, which keeps its place on it. What is new is masked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from milimo_image.mask import binary

if TYPE_CHECKING:
    from milimo_image.mask import Mask
    from milimo_image.request import Outpaint


def grown(image: Image.Image, outpaint: Outpaint) -> Image.Image:
    """The RGB image on its canvas; its outermost pixels go on to the edges, as a first guess for the model."""
    if outpaint.is_empty:
        return image
    return Image.fromarray(np.pad(np.asarray(image), (*_widths(outpaint), (0, 0)), mode="edge"))


def canvas_mask(mask: Image.Image | None, size: tuple[int, int], outpaint: Outpaint) -> Mask:
    """The mask of the canvas of an image of (width, height): `mask`, of mode "L", on the image, and all around it."""
    width, height = size
    inside = np.zeros((height, width), dtype=np.bool_) if mask is None else binary(mask, size)
    return np.pad(inside, _widths(outpaint), constant_values=True)


def _widths(outpaint: Outpaint) -> tuple[tuple[int, int], tuple[int, int]]:
    """Before and behind the rows, before and behind the columns."""
    return (outpaint.top, outpaint.bottom), (outpaint.left, outpaint.right)
