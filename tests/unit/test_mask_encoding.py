"""Masks as PNG, run lengths and boxes; prompts that do not fit an image."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from milimo_runtime.errors import InvalidArgument
from milimo_segmentation.encoding import (
    RunLengths,
    compress_counts,
    decode_rle,
    encode_png,
    encode_rle,
    expand_counts,
    mask_box,
)
from milimo_segmentation.prompts import Box, Point, check_prompts
from PIL import Image

Bools = npt.NDArray[np.bool_]
MASKS = npst.arrays(np.bool_, npst.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@given(mask=MASKS)
def test_run_lengths_bring_the_mask_back(mask: Bools) -> None:
    runs = encode_rle(mask)
    assert np.array_equal(decode_rle(runs), mask)
    # Only the first run may be empty: nothing shorter says the same.
    assert all(count > 0 for count in runs.counts[1:])
    assert sum(runs.counts[1::2]) == mask.sum()


@given(counts=st.lists(st.integers(0, 2**31), max_size=40))
def test_compressed_counts_come_back(counts: list[int]) -> None:
    assert expand_counts(compress_counts(counts)) == tuple(counts)


@pytest.mark.parametrize(
    ("rows", "counts", "text"),
    [
        (["0"], (1,), "1"),
        (["1"], (0, 1), "01"),
        # Columns first: 0 0 | 1 1 | 0 1.
        (["010", "011"], (2, 2, 1, 1), "221O"),
        (["01", "10"], (1, 2, 1), "121"),
    ],
)
def test_run_lengths_by_hand(rows: list[str], counts: tuple[int, ...], text: str) -> None:
    mask = np.array([[cell == "1" for cell in row] for row in rows])
    runs = encode_rle(mask)
    assert runs == RunLengths(height=len(rows), width=len(rows[0]), counts=counts)
    assert compress_counts(runs.counts) == text


def test_long_runs_use_several_characters() -> None:
    # 300 = 0b01001_01100: the low five bits with the "more" bit, then the high ones; -5 from the third last.
    assert compress_counts([300]) == chr(48 + 0b101100) + chr(48 + 0b01001)
    assert expand_counts(compress_counts([300, 5, 300, 0, 300])) == (300, 5, 300, 0, 300)


@pytest.mark.parametrize("text", ["\x1f", "P~~~~~", "é", chr(48 + 0b101100)])
def test_damaged_counts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="run lengths"):
        expand_counts(text)


@pytest.mark.parametrize("counts", [(3,), (5,), (2, -1, 3)])
def test_run_lengths_must_fill_the_mask(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="2 × 2"):
        decode_rle(RunLengths(height=2, width=2, counts=counts))


@given(mask=MASKS)
def test_png_has_one_channel_and_the_mask(mask: Bools) -> None:
    image = Image.open(io.BytesIO(encode_png(mask)))
    assert (image.format, image.mode, image.size) == ("PNG", "L", mask.shape[::-1])
    assert np.array_equal(np.asarray(image), np.where(mask, 255, 0))


@given(mask=MASKS)
def test_box_is_the_smallest(mask: Bools) -> None:
    box = mask_box(mask)
    if box is None:
        assert not mask.any()
        return
    x0, y0, x1, y1 = box
    inside = mask[y0:y1, x0:x1]
    assert inside.sum() == mask.sum()
    assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def point(**changes: Any) -> Point:
    return Point(**{"x": 1.0, "y": 1.0, **changes})


def box(**changes: Any) -> Box:
    return Box(**{"x0": 1.0, "y0": 1.0, "x1": 5.0, "y1": 5.0, **changes})


@pytest.mark.parametrize(
    ("points", "boxes", "field"),
    [
        ([], [], "points"),
        ([point()] * 1001, [], "points"),
        ([], [box()] * 101, "boxes"),
        ([point()], [box(), box()], "boxes"),
        ([point(), point(x=-0.1)], [], "points[1].x"),
        ([point(x=20.1)], [], "points[0].x"),
        ([point(y=10.1)], [], "points[0].y"),
        ([point(y=float("nan"))], [], "points[0].y"),
        ([point(x=float("inf"))], [], "points[0].x"),
        ([], [box(x0=-1.0)], "boxes[0].x0"),
        ([], [box(), box(y1=11.0)], "boxes[1].y1"),
        ([], [box(x1=1.0)], "boxes[0].x1"),
        ([], [box(y0=5.0)], "boxes[0].y1"),
        ([], [box(x1=float("nan"))], "boxes[0].x1"),
    ],
)
def test_prompts_outside_the_image_are_refused(points: list[Point], boxes: list[Box], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_prompts(points, boxes, width=20, height=10)
    assert caught.value.violations[0].field == field


@pytest.mark.parametrize(
    ("points", "boxes"),
    [
        ([point(x=0.0, y=0.0), point(x=20.0, y=10.0, positive=False)], []),
        ([point()] * 1000, [box(x0=0.0, y0=0.0, x1=20.0, y1=10.0)]),
        ([], [box()] * 100),
    ],
)
def test_prompts_at_the_limits_are_accepted(points: list[Point], boxes: list[Box]) -> None:
    check_prompts(points, boxes, width=20, height=10)
