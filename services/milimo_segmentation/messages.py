"""Prompts and masks between the contract and this service's own types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo.v1 import common_pb2, segmentation_pb2

from milimo_segmentation.encoding import encode_png, encode_rle, mask_box
from milimo_segmentation.prompts import Box, Point

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import numpy.typing as npt


def points_from(messages: Iterable[common_pb2.Point]) -> list[Point]:
    """The clicks; one that does not say is on the object."""
    return [
        Point(x=message.x, y=message.y, positive=message.positive if message.HasField("positive") else True)
        for message in messages
    ]


def boxes_from(messages: Iterable[common_pb2.Box]) -> list[Box]:
    """The boxes, in pixels."""
    return [Box(x0=message.x0, y0=message.y0, x1=message.x1, y1=message.y1) for message in messages]


def mask_message(
    mask: npt.NDArray[np.bool_], score: float, mask_format: segmentation_pb2.MaskFormat.ValueType, *, label: str = ""
) -> segmentation_pb2.Mask:
    """A mask in the form that was asked for, with its box, area and score."""
    message = segmentation_pb2.Mask(score=score, area=int(mask.sum()), label=label)
    if mask_format == segmentation_pb2.MASK_FORMAT_RLE:
        runs = encode_rle(mask)
        message.rle.CopyFrom(segmentation_pb2.RunLengths(width=runs.width, height=runs.height, counts=runs.counts))
    else:
        message.png = encode_png(mask)
    box = mask_box(mask)
    if box is not None:
        message.box.CopyFrom(common_pb2.Box(x0=box[0], y0=box[1], x1=box[2], y1=box[3]))
    return message
