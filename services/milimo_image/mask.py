"""Masks of inpainting: what of an image is painted anew, and how softly. White is painted anew."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image

from milimo_image import defaults

Mask = npt.NDArray[np.bool_]
_WHITE_FROM = 128
_ALL = np.uint8(255)


def binary(mask: Image.Image, size: tuple[int, int]) -> Mask:
    """The mask, of mode "L", at an image's (width, height): true where it is at least half white."""
    if mask.size != size:
        mask = mask.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(mask) >= _WHITE_FROM


def bounds(mask: Mask) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of what is masked, the latter two behind it; `None` when nothing is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def token_mask(mask: Mask) -> npt.NDArray[np.float32]:
    """1 for each token of 16 × 16 pixels that holds a masked pixel, else 0. The sides are multiples of 16."""
    side = defaults.SIDE_MULTIPLE
    height, width = mask.shape
    tiles = mask.reshape(height // side, side, width // side, side)
    return np.asarray(tiles.any(axis=(1, 3)), dtype=np.float32)


def softened(mask: Mask, feather: int) -> npt.NDArray[np.uint8]:
    """How much of the new image shows, 0 to 255: 0 outside the mask, rising over `feather` pixels within it.

    The width shrinks to what fits into the mask, so that its middle is new. The image's edge is no edge of the mask.
    """
    if feather == 0 or mask.all() or not mask.any():
        return mask.view(np.uint8) * _ALL
    inside = _depth(mask, feather + 1)
    # At most 257 deep, by the limit of the feather: nothing within the mask becomes 0.
    shares: npt.NDArray[np.uint8] = np.rint(np.linspace(0, _ALL, int(inside.max()) + 1)).astype(np.uint8)
    return shares[inside]


def _depth(mask: Mask, most: int) -> npt.NDArray[np.uint16]:
    """Steps along rows and columns to the nearest pixel outside the mask, at most `most`."""
    depth = np.where(mask, np.uint16(most), np.uint16(0))
    _step_across(depth)
    # Columns as rows: memory is read in its order.
    turned = np.ascontiguousarray(depth.T)
    _step_across(turned)
    return np.ascontiguousarray(turned.T)


def _step_across(depth: npt.NDArray[np.uint16]) -> None:
    """No row stays more than one above its neighbours."""
    for rows in (depth, depth[::-1]):
        for before, row in pairwise(rows):
            np.minimum(row, before + np.uint16(1), out=row)
