"""Masks by clicks, boxes and text: asked of the segmentation process, which looks at the image itself."""

from __future__ import annotations

import asyncio
import contextlib
import io
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
import numpy as np
from milimo.v1 import common_pb2, segmentation_pb2, segmentation_pb2_grpc
from milimo_runtime.channels import open_channel
from milimo_runtime.errors import InvalidArgument
from milimo_runtime.statuses import from_rpc_error
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    import numpy.typing as npt
    from milimo_runtime.errors import MilimoError

    from milimo_image.request import Box, Click, MaskPrompt

    Mask = npt.NDArray[np.bool_]

# Rests before it is asked again when it is away, in seconds: it may be restarting.
_RESTS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
# When more calls wait there than it takes.
_QUEUE_FULL: Final = "QUEUE_FULL"
_QUEUE_REST: Final = 1.0


class Segmentation:
    """The segmentation process, as a job sees it. Used on the loop on which it was made."""

    def __init__(self, address: str) -> None:
        """Connects when it is first asked."""
        self.loop = asyncio.get_running_loop()
        self._channel = open_channel(address)
        self._stub = segmentation_pb2_grpc.SegmentationServiceStub(self._channel)

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()

    async def mask(self, asset_id: str, prompt: MaskPrompt) -> bytes:
        """A mask of the whole image asset: a PNG of mode "L", white on what is meant.

        Waits for as long as it takes: the segmentation needs memory of its own.

        Raises:
            InvalidArgument: nothing is found; names the field of the request to inpaint.
            MilimoError: what the process answered, or that it is away.
        """
        image = common_pb2.ImageSource(asset_id=asset_id)
        if prompt.text:
            request = segmentation_pb2.SegmentTextRequest(image=image, text=prompt.text, merged_only=True)
            answer = await _answer(lambda: self._stub.SegmentText(request))
            found = [answer.merged] if answer.merged.area else []
            field, what = "inpaint.mask_text", f"finds nothing in the image: {prompt.text!r}"
        else:
            found = [mask for box in prompt.boxes or (None,) for mask in await self._clicked(image, prompt.points, box)]
            field, what = "inpaint.mask_prompt", "selects nothing in the image"
        if not found:
            raise InvalidArgument(field, what, reason="NOTHING_FOUND")
        return found[0].png if len(found) == 1 else _united([mask.png for mask in found])

    async def _clicked(
        self, image: common_pb2.ImageSource, points: Sequence[Click], box: Box | None
    ) -> list[segmentation_pb2.Mask]:
        """The mask of one object; none when it is empty."""
        request = segmentation_pb2.PredictMaskRequest(
            image=image,
            points=[common_pb2.Point(x=point.x, y=point.y, positive=point.positive) for point in points],
            boxes=[] if box is None else [common_pb2.Box(x0=box.x0, y0=box.y0, x1=box.x1, y1=box.y1)],
        )
        answer = await _answer(lambda: self._stub.PredictMask(request))
        return [mask for mask in answer.masks[:1] if mask.area]


@contextlib.asynccontextmanager
async def open_segmentation(address: str) -> AsyncIterator[Segmentation]:
    """The segmentation process at an address; at the end the channel is closed."""
    segmentation = Segmentation(address)
    try:
        yield segmentation
    finally:
        await segmentation.close()


async def _answer(call: Callable[[], Awaitable[Any]]) -> Any:
    """The answer, asked for again while the process is away for a moment or has too much to do. Raises MilimoError."""
    rests = iter(_RESTS)
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            problem: MilimoError = from_rpc_error(error)
            if problem.reason == _QUEUE_FULL:
                rest: float | None = problem.retry_after_s or _QUEUE_REST
            else:
                rest = next(rests, None) if error.code() is grpc.StatusCode.UNAVAILABLE else None
            if rest is None:
                raise problem from error
        await asyncio.sleep(rest)


def _united(pngs: Sequence[bytes]) -> bytes:
    """Masks of one size in one."""
    masks: list[Mask] = []
    for png in pngs:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            masks.append(np.asarray(image.convert("L")) > 0)
    buffer = io.BytesIO()
    Image.fromarray(np.logical_or.reduce(masks).view(np.uint8) * np.uint8(255)).save(buffer, "PNG")
    return buffer.getvalue()
