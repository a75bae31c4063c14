"""Masks as they travel: PNG, COCO run lengths, boxes. Pure numpy and Pillow."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class RunLengths:
    """COCO's uncompressed RLE: lengths of runs down the columns, from left to right, beginning with pixels outside.

    The first run may be 0 long; the runs add up to height · width.
    """

    height: int
    width: int
    counts: tuple[int, ...]


def encode_png(mask: BoolArray) -> bytes:
    """A mask, (height, width), as a PNG of one 8-bit channel: 255 inside, 0 outside."""
    buffer = io.BytesIO()
    Image.fromarray(mask.view(np.uint8) * np.uint8(255)).save(buffer, "PNG")
    return buffer.getvalue()


def encode_rle(mask: BoolArray) -> RunLengths:
    """The run lengths of a mask, (height, width)."""
    height, width = mask.shape
    pixels = mask.flatten(order="F")
    borders = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    edges = np.concatenate(([0], borders, [pixels.size]))
    counts = [int(count) for count in np.diff(edges)]
    if pixels.size and pixels[0]:
        counts.insert(0, 0)
    return RunLengths(height=height, width=width, counts=tuple(counts))


def count_borders(mask: BoolArray) -> int:
    """How often the mask, (height, width), changes between one pixel and the next down a column: its runs, nearly."""
    return int(np.count_nonzero(mask[1:] != mask[:-1]))


def decode_rle(runs: RunLengths) -> BoolArray:
    """The mask of some run lengths. Raises `ValueError` when they do not fill it exactly."""
    if any(count < 0 for count in runs.counts) or sum(runs.counts) != runs.height * runs.width:
        raise ValueError(
            f"run lengths cover {sum(runs.counts)} pixels; expected {runs.height} × {runs.width}, none negative"
        )
    values = np.arange(len(runs.counts)) % 2 == 1
    return np.repeat(values, runs.counts).reshape((runs.height, runs.width), order="F")


def compress_counts(counts: Sequence[int]) -> str:
    """COCO's compressed form of the counts: the "counts" string of most tools.

    Each count from the fourth on is written as the difference from the one two before, five bits to a character,
    lowest first, from "0" on (rleToString in cocoapi's maskApi.c).
    """
    characters = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            characters.append(chr(48 + (bits | 0x20 if more else bits)))
    return "".join(characters)


def expand_counts(text: str) -> tuple[int, ...]:
    """The counts of COCO's compressed form. Raises `ValueError` for characters that it does not use."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{character!r} is not a character of compressed run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("the compressed run lengths end in the middle of a number")
    return tuple(counts)


def mask_box(mask: BoolArray) -> tuple[int, int, int, int] | None:
    """The smallest box around the pixels of a mask: x0, y0, x1, y1, the last two past the pixels; `None` when empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
