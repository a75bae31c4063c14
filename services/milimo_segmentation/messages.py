"""Prompts and masks between the contract and this service's own types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from milimo.v1 import common_pb2, segmentation_pb2
from milimo_runtime.errors import ResourceExhausted
from milimo_runtime.limits import MESSAGE_BYTES

from milimo_segmentation.encoding import count_borders, encode_png, encode_rle, mask_box
from milimo_segmentation.prompts import Box, Point

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from milimo_segmentation.predict import Mask
    from milimo_segmentation.text import Instance

# Of an answer, for what is not a mask, and for the frame of each mask.
_ROOM_BYTES = 1024


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
    """A mask, (height, width), in the form that was asked for, with its box, area and score.

    Raises ResourceExhausted when it has more runs than an answer has bytes.
    """
    message = segmentation_pb2.Mask(score=score, area=int(np.count_nonzero(mask)), label=label)
    if mask_format == segmentation_pb2.MASK_FORMAT_RLE:
        if count_borders(mask) > MESSAGE_BYTES:
            # Before they become numbers, of which a ragged mask of a large image has tens of millions.
            raise _too_large(mask_format)
        runs = encode_rle(mask)
        message.rle.CopyFrom(segmentation_pb2.RunLengths(width=runs.width, height=runs.height, counts=runs.counts))
    else:
        message.png = encode_png(mask)
    box = mask_box(mask)
    if box is not None:
        message.box.CopyFrom(common_pb2.Box(x0=box[0], y0=box[1], x1=box[2], y1=box[3]))
    return message


def predicted(
    masks: Sequence[Mask], mask_format: segmentation_pb2.MaskFormat.ValueType, *, width: int, height: int
) -> segmentation_pb2.PredictMaskResponse:
    """The answer to clicks: masks best first, of an image of that size. Raises ResourceExhausted when it is too large.

    One mask at a time is there at full size.
    """
    answer = segmentation_pb2.PredictMaskResponse(width=width, height=height)
    room = _Room(mask_format)
    for mask in sorted(masks, key=lambda mask: -mask.score):
        answer.masks.append(room.taken_by(mask_message(mask.field.mask(), mask.score, mask_format)))
    return answer


def segmented(
    instances: Sequence[Instance],
    text: str,
    mask_format: segmentation_pb2.MaskFormat.ValueType,
    *,
    width: int,
    height: int,
    merged_only: bool = False,
) -> segmentation_pb2.SegmentTextResponse:
    """The answer to a text: the instances in their order unless `merged_only`, and all in one mask.

    Raises ResourceExhausted when it is too large.

    One instance at a time is there at full size, beside the union of those before it.
    """
    answer = segmentation_pb2.SegmentTextResponse(width=width, height=height)
    room = _Room(mask_format)
    merged = np.zeros((height, width), dtype=np.bool_)
    for instance in instances:
        mask = instance.field.mask()
        merged |= mask
        if not merged_only:
            answer.instances.append(room.taken_by(mask_message(mask, instance.score, mask_format, label=text)))
    best = max((instance.score for instance in instances), default=0.0)
    answer.merged.CopyFrom(room.taken_by(mask_message(merged, best, mask_format, label=text)))
    return answer


class _Room:
    """What is left of an answer's bytes."""

    def __init__(self, mask_format: segmentation_pb2.MaskFormat.ValueType) -> None:
        self._format = mask_format
        self._left = MESSAGE_BYTES - _ROOM_BYTES

    def taken_by(self, message: segmentation_pb2.Mask) -> segmentation_pb2.Mask:
        """The mask, counted. Raises ResourceExhausted when it does not fit: no more need be encoded then."""
        self._left -= message.ByteSize() + 8
        if self._left < 0:
            raise _too_large(self._format)
        return message


def _too_large(mask_format: segmentation_pb2.MaskFormat.ValueType) -> ResourceExhausted:
    if mask_format == segmentation_pb2.MASK_FORMAT_RLE:
        way_out = "use a smaller image, or ask for fewer masks (a higher confidence, no multimask)"
    else:
        way_out = "ask for mask_format MASK_FORMAT_RLE, which is smaller for most masks, or use a smaller image"
    return ResourceExhausted(
        f"the masks do not fit into an answer of {MESSAGE_BYTES // 1024**2} MiB: {way_out}",
        reason="RESPONSE_TOO_LARGE",
    )
