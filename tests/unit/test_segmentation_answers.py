"""Answers of the segmentation: how much memory they take, what does not fit, how many calls are at work."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest
from milimo.v1.segmentation_pb2 import MASK_FORMAT_PNG, MASK_FORMAT_RLE, MaskFormat
from milimo_runtime.errors import ResourceExhausted
from milimo_runtime.limits import MESSAGE_BYTES
from milimo_segmentation.calls import SegmentationCalls
from milimo_segmentation.encoding import count_borders, encode_rle
from milimo_segmentation.messages import predicted, segmented
from milimo_segmentation.pixels import Field
from milimo_segmentation.predict import Mask
from milimo_segmentation.prompts import Box
from milimo_segmentation.text import Instance

PATIENCE_S = 20.0
BOX = Box(x0=0.0, y0=0.0, x1=1.0, y1=1.0)


def blob(width: int, height: int, shift: int) -> Field:
    """A disc on a grid of the model's size."""
    y, x = np.mgrid[0:288, 0:288]
    values = (1.0 - np.hypot(x - 100 - shift, y - 140) / 100).astype(np.float32)
    return Field(values=values, threshold=0.0, width=width, height=height)


def noise(side: int, seed: int) -> Field:
    """A mask that no format makes small."""
    values = np.random.default_rng(seed).random((side, side), dtype=np.float32)
    return Field(values=values, threshold=0.5, width=side, height=side)


def found(fields: list[Field]) -> list[Instance]:
    return [Instance(field=field, box=BOX, score=1.0 - index / 1000) for index, field in enumerate(fields)]


def status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


@pytest.mark.parametrize("form", [MASK_FORMAT_PNG, MASK_FORMAT_RLE])
def test_memory_does_not_grow_with_the_instances(form: MaskFormat.ValueType) -> None:
    width, height = 5000, 4000
    instances = found([blob(width, height, shift) for shift in range(24)])
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    answer = segmented(instances, "disc", form, width=width, height=height)
    grown = status("VmHWM") - before
    assert len(answer.instances) == 24
    assert answer.merged.area > answer.instances[0].area
    # All masks at once would take 24 bytes per pixel, and more while they are made.
    assert grown < 14 * width * height


def test_the_union_alone_is_the_same_one() -> None:
    instances = found([blob(50, 40, shift) for shift in (0, 60)])
    whole = segmented(instances, "disc", MASK_FORMAT_PNG, width=50, height=40)
    alone = segmented(instances, "disc", MASK_FORMAT_PNG, width=50, height=40, merged_only=True)
    assert (len(whole.instances), len(alone.instances)) == (2, 0)
    assert alone.merged == whole.merged


def test_png_masks_that_do_not_fit_name_the_other_format() -> None:
    masks = [Mask(field=noise(4000, seed), score=0.5) for seed in range(3)]
    with pytest.raises(ResourceExhausted, match="MASK_FORMAT_RLE") as caught:
        predicted(masks, MASK_FORMAT_PNG, width=4000, height=4000)
    assert caught.value.reason == "RESPONSE_TOO_LARGE"
    with pytest.raises(ResourceExhausted, match="MASK_FORMAT_RLE"):
        segmented(found([noise(4000, seed) for seed in range(3)]), "x", MASK_FORMAT_PNG, width=4000, height=4000)


def test_run_lengths_that_do_not_fit_are_not_counted_one_by_one() -> None:
    field = noise(4000, 0)
    borders = count_borders(field.mask())
    assert borders > MESSAGE_BYTES
    with pytest.raises(ResourceExhausted, match="smaller image") as caught:
        predicted([Mask(field=field, score=0.5)], MASK_FORMAT_RLE, width=4000, height=4000)
    assert caught.value.reason == "RESPONSE_TOO_LARGE"


def test_borders_are_counted_down_the_columns() -> None:
    mask = np.random.default_rng(1).random((7, 5)) > 0.5
    runs = len(encode_rle(mask).counts)
    assert count_borders(mask) <= runs <= count_borders(mask) + 5 + 1


async def test_calls_are_bounded_and_count_until_they_have_ended() -> None:
    calls = SegmentationCalls(calls=2)
    go, begun = threading.Event(), [threading.Event() for _ in range(2)]

    def work(index: int) -> int:
        begun[index].set()
        assert go.wait(PATIENCE_S)
        return index

    running = [asyncio.create_task(calls.answer(lambda _, n=index: work(n))) for index in range(2)]  # type: ignore[misc]
    for event in begun:
        assert await asyncio.to_thread(event.wait, PATIENCE_S)
    with pytest.raises(ResourceExhausted):
        await calls.answer(lambda _: 0)
    running[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await running[0]
    # Nobody waits for it any more, but its thread is at work still.
    with pytest.raises(ResourceExhausted):
        await calls.answer(lambda _: 0)
    go.set()
    assert await running[1] == 1
    await calls.close()


def test_pixels_of_waiting_calls_are_bounded() -> None:
    calls = SegmentationCalls(pixels=100)
    with calls.holding(400):
        with pytest.raises(ResourceExhausted) as caught, calls.holding(1):
            pytest.fail("there is no room")
        assert (caught.value.reason, caught.value.retry_after_s) == ("QUEUE_FULL", 1.0)
    with calls.holding(60), calls.holding(40), pytest.raises(ResourceExhausted), calls.holding(1):
        pytest.fail("there is no room")
    with calls.holding(100):
        pass
