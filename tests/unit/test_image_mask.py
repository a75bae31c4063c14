"""Masks and regions of inpainting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from milimo_image import defaults
from milimo_image.mask import Mask, binary, bounds, composite, softened, token_mask
from milimo_image.region import region_of
from PIL import Image

MASKS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20)))


@settings(max_examples=60)
@given(mask=MASKS, feather=st.integers(0, 30))
def test_the_soft_edge_lies_inside_the_mask(mask: Mask, feather: int) -> None:
    share = softened(mask, feather)
    assert (share > 0).tolist() == mask.tolist()
    if mask.any():
        assert share.max() == 1.0
    if feather == 0 or mask.all():
        assert share.tolist() == mask.astype(float).tolist()


def test_the_soft_edge_rises_over_the_feather() -> None:
    mask = np.zeros((41, 41), dtype=bool)
    mask[10:31, 10:31] = True
    assert softened(mask, 3)[20, 8:16] == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1, 1, 1])
    # No more than fits, and none where the mask goes on beyond the image.
    assert softened(mask, 200)[20, 20] == 1.0
    mask[:, 10:] = True
    assert softened(mask, 3)[0, 9:15] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1])
    assert softened(mask, 3)[20, 40] == 1.0


@given(mask=MASKS)
def test_bounds_hold_the_mask(mask: Mask) -> None:
    found = bounds(mask)
    if found is None:
        assert not mask.any()
        return
    left, top, right, bottom = found
    assert mask[top:bottom, left:right].sum() == mask.sum()
    for line in (mask[top], mask[bottom - 1], mask[:, left], mask[:, right - 1]):
        assert line.any()


def test_a_token_counts_as_soon_as_a_pixel_does() -> None:
    mask = np.zeros((32, 48), dtype=bool)
    mask[15, 16] = True
    mask[16:, 47] = True
    assert token_mask(mask).tolist() == [[0, 1, 0], [0, 0, 1]]


def test_masks_are_black_or_white() -> None:
    grey = Image.fromarray(np.array([[0, 127, 128, 255]], dtype=np.uint8))
    assert binary(grey, (4, 1)).tolist() == [[False, False, True, True]]


def test_nothing_changes_where_the_share_is_zero() -> None:
    old, new = Image.new("RGB", (3, 1), (10, 20, 30)), Image.new("RGB", (3, 1), (110, 21, 0))
    mixed = composite(old, new, np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    assert [mixed.getpixel((column, 0)) for column in range(3)] == [(10, 20, 30), (60, 20, 15), (110, 21, 0)]


@given(
    size=st.tuples(st.integers(64, 9000), st.integers(64, 7000)),
    corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    extent=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    padding=st.one_of(st.none(), st.integers(0, 2048)),
)
def test_regions_hold_the_mask_and_fit_the_model(
    size: tuple[int, int],
    corner: tuple[float, float],
    extent: tuple[float, float],
    padding: int | None,
) -> None:
    left, top = (int(part * (side - 1)) for part, side in zip(corner, size, strict=True))
    right = left + 1 + int(extent[0] * (size[0] - left - 1))
    bottom = top + 1 + int(extent[1] * (size[1] - top - 1))
    region = region_of(size, (left, top, right, bottom), padding)
    assert 0 <= region.left <= left
    assert right <= region.right <= size[0]
    assert 0 <= region.top <= top
    assert bottom <= region.bottom <= size[1]
    assert min(region.size) >= 64
    if padding is None:
        assert region.size == size
    assert region.scaled[0] * region.scaled[1] <= defaults.MAX_INPAINT_PIXELS
    assert region.scaled == region.size or region.size[0] * region.size[1] > defaults.MAX_INPAINT_PIXELS
    for scaled, model in zip(region.scaled, region.model, strict=True):
        assert model % 16 == 0
        assert scaled <= model < scaled + 16
