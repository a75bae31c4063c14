"""Masks that a job asks of the segmentation process: what is asked, what comes back, and how it ends early."""

from __future__ import annotations

import asyncio
import contextlib
import io
from typing import TYPE_CHECKING, Any

import grpc.aio
import numpy as np
import pytest
from milimo.v1 import segmentation_pb2, segmentation_pb2_grpc
from milimo_image.request import Box, Click, MaskPrompt
from milimo_image.segmentation import open_segmentation
from milimo_runtime.errors import InvalidArgument, MilimoError, NotFound, ResourceExhausted, Unavailable
from milimo_runtime.interceptors import CallInterceptor
from milimo_runtime.job_call import answer_of
from milimo_runtime.job_run import JobDraining, Signals
from milimo_runtime.later import later, later_stream
from milimo_runtime.observer import JobCancelled
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from milimo_image.segmentation import Segmentation

SIZE = (48, 32)


def mask(*box: int) -> segmentation_pb2.Mask:
    """White in the box; empty without one."""
    image = Image.new("L", SIZE)
    if box:
        image.paste(255, (box[0], box[1], box[2], box[3]))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return segmentation_pb2.Mask(png=buffer.getvalue(), area=int(np.count_nonzero(np.asarray(image))))


def white(png: bytes) -> list[tuple[int, int]]:
    with Image.open(io.BytesIO(png)) as image:
        assert (image.mode, image.size) == ("L", SIZE)
        rows, columns = np.nonzero(np.asarray(image))
    return sorted(zip(columns.tolist(), rows.tolist(), strict=True))


def pixels(*box: int) -> set[tuple[int, int]]:
    return {(column, row) for column in range(box[0], box[2]) for row in range(box[1], box[3])}


class Scripted(segmentation_pb2_grpc.SegmentationServiceServicer):
    """Answers what it was told to: masks, or errors first."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.errors: list[MilimoError] = []
        self.found: list[segmentation_pb2.Mask] = []
        self.never = False
        self.begun, self.gone = asyncio.Event(), asyncio.Event()

    async def _next(self, request: Any) -> segmentation_pb2.Mask:
        self.asked.append(request)
        self.begun.set()
        try:
            if self.never:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.gone.set()
            raise
        if self.errors:
            raise self.errors.pop(0)
        return self.found.pop(0) if self.found else mask()

    async def PredictMask(self, request: Any, context: Any) -> segmentation_pb2.PredictMaskResponse:
        return segmentation_pb2.PredictMaskResponse(masks=[await self._next(request), mask(0, 0, 1, 1)])

    async def SegmentText(self, request: Any, context: Any) -> segmentation_pb2.SegmentTextResponse:
        return segmentation_pb2.SegmentTextResponse(merged=await self._next(request))

    Detect = EditMask = StartTracking = PromptTracking = StopTracking = RemoveTrackedObject = later("nothing else")
    ExportTracking, PropagateTracking = later("nothing else"), later_stream("nothing else")


@contextlib.asynccontextmanager
async def scripted() -> AsyncIterator[tuple[Scripted, Segmentation]]:
    servicer = Scripted()
    server = grpc.aio.server(interceptors=[CallInterceptor()])
    segmentation_pb2_grpc.add_SegmentationServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with open_segmentation(f"127.0.0.1:{port}") as segmentation:
            yield servicer, segmentation
    finally:
        await server.stop(grace=0)


async def test_a_text_gives_everything_that_it_finds() -> None:
    async with scripted() as (servicer, segmentation):
        servicer.found = [mask(3, 4, 10, 9)]
        png = await segmentation.mask("asset", MaskPrompt(text="the boat"))
    assert set(white(png)) == pixels(3, 4, 10, 9)
    (asked,) = servicer.asked
    assert (asked.image.asset_id, asked.text, asked.merged_only) == ("asset", "the boat", True)


async def test_clicks_and_a_box_are_one_object() -> None:
    prompt = MaskPrompt(
        points=(Click(x=1.5, y=2), Click(x=4, y=5, positive=False)), boxes=(Box(x0=0, y0=1, x1=20, y1=30),)
    )
    async with scripted() as (servicer, segmentation):
        servicer.found = [mask(3, 4, 10, 9)]
        png = await segmentation.mask("asset", prompt)
    assert set(white(png)) == pixels(3, 4, 10, 9)
    (asked,) = servicer.asked
    assert [(point.x, point.y, point.positive) for point in asked.points] == [(1.5, 2, True), (4, 5, False)]
    assert [(box.x0, box.y0, box.x1, box.y1) for box in asked.boxes] == [(0, 1, 20, 30)]
    assert not asked.multimask


async def test_several_boxes_are_as_many_objects() -> None:
    boxes = tuple(Box(x0=side, y0=0, x1=side + 5, y1=5) for side in (0, 10, 20))
    async with scripted() as (servicer, segmentation):
        servicer.found = [mask(0, 0, 4, 4), mask(), mask(2, 2, 8, 6)]
        png = await segmentation.mask("asset", MaskPrompt(boxes=boxes))
    assert set(white(png)) == pixels(0, 0, 4, 4) | pixels(2, 2, 8, 6)
    assert [asked.boxes[0].x0 for asked in servicer.asked] == [0, 10, 20]


@pytest.mark.parametrize(
    ("prompt", "field"),
    [
        (MaskPrompt(text="a unicorn"), "inpaint.mask_text"),
        (MaskPrompt(points=(Click(x=1, y=1),)), "inpaint.mask_prompt"),
        (MaskPrompt(boxes=(Box(x0=0, y0=0, x1=1, y1=1),) * 2), "inpaint.mask_prompt"),
    ],
)
async def test_nothing_found_names_the_field(prompt: MaskPrompt, field: str) -> None:
    async with scripted() as (_, segmentation):
        with pytest.raises(InvalidArgument) as caught:
            await segmentation.mask("asset", prompt)
    assert [violation.field for violation in caught.value.violations] == [field]
    assert caught.value.reason == "NOTHING_FOUND"


async def test_it_is_asked_again_while_it_is_away_or_busy() -> None:
    async with scripted() as (servicer, segmentation):
        servicer.errors = [
            ResourceExhausted("too many", reason="QUEUE_FULL", retry_after_s=0.01),
            Unavailable("the memory was taken away", reason="LEASE_LOST"),
            ResourceExhausted("too many", reason="QUEUE_FULL", retry_after_s=0.01),
        ]
        servicer.found = [mask(0, 0, 1, 1)]
        await segmentation.mask("asset", MaskPrompt(text="x"))
    assert len(servicer.asked) == 4


async def test_its_errors_are_passed_on() -> None:
    async with scripted() as (servicer, segmentation):
        servicer.errors = [NotFound("asset", "asset", field="image.asset_id")]
        with pytest.raises(MilimoError) as caught:
            await segmentation.mask("asset", MaskPrompt(text="x"))
    assert (caught.value.status, caught.value.reason) == ("NOT_FOUND", "NOT_FOUND")
    assert len(servicer.asked) == 1


@pytest.mark.parametrize(("stop", "error"), [("cancel", JobCancelled), ("drain", JobDraining)])
async def test_a_job_that_is_stopped_leaves_the_queue_there(stop: str, error: type[BaseException]) -> None:
    """While it waits, and when it was stopped before; afterwards nobody is roused."""
    signals = Signals()
    async with scripted() as (servicer, segmentation):
        servicer.never = True

        def job() -> bytes:
            call = segmentation.mask("asset", MaskPrompt(text="x"))
            return answer_of(call, loop=segmentation.loop, signals=signals)

        for _ in range(2):
            working = asyncio.create_task(asyncio.to_thread(job))
            if not servicer.asked:
                await servicer.begun.wait()
                getattr(signals, stop)()
            with pytest.raises(error):
                await working
        await asyncio.wait_for(servicer.gone.wait(), timeout=5)
        getattr(signals, stop)()


async def test_a_job_gets_the_answer_and_its_errors() -> None:
    async with scripted() as (servicer, segmentation):
        servicer.found = [mask(0, 0, 2, 2)]

        def job() -> bytes:
            call = segmentation.mask("asset", MaskPrompt(text="x"))
            return answer_of(call, loop=segmentation.loop, signals=Signals())

        assert set(white(await asyncio.to_thread(job))) == pixels(0, 0, 2, 2)
        with pytest.raises(InvalidArgument):
            await asyncio.to_thread(job)
