"""Masks and regions of inpainting."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from milimo_image import defaults
from milimo_image.mask import Mask, binary, bounds, softened, token_mask
from milimo_image.region import region_of
from PIL import Image

MASKS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20)))


@settings(max_examples=60)
@given(mask=MASKS, feather=st.integers(0, 30))
def test_the_soft_edge_lies_inside_the_mask(mask: Mask, feather: int) -> None:
    share = softened(mask, feather)
    assert (share > 0).tolist() == mask.tolist()
    if mask.any():
        assert share.max() == 255
    if feather == 0 or mask.all():
        assert share.tolist() == (mask * 255).tolist()


def test_the_soft_edge_rises_over_the_feather() -> None:
    mask = np.zeros((41, 41), dtype=bool)
    mask[10:31, 10:31] = True
    assert softened(mask, 3)[20, 8:16].tolist() == [0, 0, 64, 128, 191, 255, 255, 255]
    # No more than fits, and none where the mask goes on beyond the image.
    assert softened(mask, 200)[20, 20] == 255
    mask[:, 10:] = True
    assert softened(mask, 3)[0, 9:15].tolist() == [0, 64, 128, 191, 255, 255]
    assert softened(mask, 3)[20, 40] == 255


def test_the_widest_soft_edge_has_some_of_the_new_image_everywhere() -> None:
    mask = np.ones((3, 600), dtype=bool)
    mask[:, 0] = False
    assert softened(mask, defaults.MAX_FEATHER)[1, :3].tolist() == [0, 1, 2]


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
