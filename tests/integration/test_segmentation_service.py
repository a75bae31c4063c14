"""The segmentation service on a tiny model and a real arbiter: who waits, what is refused, what is told."""

from __future__ import annotations

import asyncio
import gc
import io
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from milimo.v1 import arbiter_pb2 as pb
from milimo.v1 import common_pb2, segmentation_pb2
from milimo_runtime.errors import InvalidArgument, ResourceExhausted, Unavailable
from milimo_runtime.lease_terms import Grade, LeaseLost
from milimo_runtime.model_process import open_model_process
from milimo_runtime.registry import ModelFootprint, write_manifest
from milimo_runtime.residency import Residency
from milimo_runtime.settings import ServiceSettings
from milimo_segmentation.calls import open_calls
from milimo_segmentation.encoding import RunLengths, decode_rle
from milimo_segmentation.model import LoadedSegmentation, load
from milimo_segmentation.service import SegmentationService
from milimo_tiny.sam3 import write_sam3
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from milimo_runtime.model_process import ModelProcess

    Opened = Callable[..., AbstractAsyncContextManager["Segmentation"]]

PATIENCE_S = 20.0
SIZE = (300, 200)


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    root = folder / "tiny/sam-3"
    write_sam3(root)
    manifest = {"name": "sam-3", "family": "tiny", "purpose": "segmentation"}
    manifest |= dict.fromkeys(("license", "checkpoint", "note", "advice"), "")
    # The arbiter of these tests lends 1,000 bytes.
    write_manifest(root, manifest, footprints=[ModelFootprint(name="float32", bytes=600)])
    return folder


@dataclass
class Segmentation:
    """The service with what is around it."""

    service: SegmentationService
    process: ModelProcess[LoadedSegmentation]
    arbiter: Any


@pytest.fixture
def segmentation(arbiter_process: Any, models_dir: Path, tmp_path: Path) -> Opened:
    """Opens the service for the length of a block; `watched` sees the model as it is loaded."""

    @asynccontextmanager
    async def opened(watched: Callable[[Any, Callable[[], None]], None] = lambda *_: None) -> AsyncIterator[Any]:
        def load_watched(installed: Any, devices: Any, check: Callable[[], None]) -> LoadedSegmentation:
            loaded = load(installed, devices, check)
            watched(loaded.models, check)
            return loaded

        async with arbiter_process() as arbiter:
            settings = ServiceSettings(
                home=tmp_path / "home",
                models_dir=models_dir,
                model_family="tiny",
                device="cpu",
                arbiter_address=arbiter.address,
            )
            async with (
                open_calls() as calls,
                open_model_process(
                    service="segmentation", model="sam-3", settings=settings, load=load_watched
                ) as process,
            ):
                yield Segmentation(SegmentationService(process, calls), process, arbiter)

    return opened


def picture() -> common_pb2.ImageSource:
    data = io.BytesIO()
    Image.linear_gradient("L").resize(SIZE).convert("RGB").save(data, "PNG")
    return common_pb2.ImageSource(content=data.getvalue())


def click(mask_format: int = segmentation_pb2.MASK_FORMAT_PNG, **fields: Any) -> segmentation_pb2.PredictMaskRequest:
    return segmentation_pb2.PredictMaskRequest(
        image=picture(), points=[common_pb2.Point(x=50, y=50)], mask_format=mask_format, **fields
    )


def text(mask_format: int, confidence: float) -> segmentation_pb2.SegmentTextRequest:
    return segmentation_pb2.SegmentTextRequest(
        image=picture(), text="red circle", mask_format=mask_format, confidence=confidence
    )


def pixels(mask: segmentation_pb2.Mask) -> np.ndarray[Any, Any]:
    if mask.WhichOneof("mask") == "png":
        with Image.open(io.BytesIO(mask.png)) as image:
            return np.asarray(image) == 255
    return decode_rle(RunLengths(width=mask.rle.width, height=mask.rle.height, counts=tuple(mask.rle.counts)))


async def test_both_forms_say_the_same(segmentation: Opened) -> None:
    png, rle = segmentation_pb2.MASK_FORMAT_PNG, segmentation_pb2.MASK_FORMAT_RLE
    async with segmentation() as opened:
        service = opened.service
        clicked = [await service.PredictMask(click(form, multimask=True), None) for form in (png, rle)]
        found = [await service.SegmentText(text(form, 0.0), None) for form in (png, rle)]
        assert [len(answer.masks) for answer in clicked] == [3, 3]
        scores = [mask.score for mask in clicked[0].masks]
        assert scores == sorted(scores, reverse=True)
        for one, other in zip(clicked[0].masks, clicked[1].masks, strict=True):
            assert np.array_equal(pixels(one), pixels(other))
            assert one.area == pixels(one).sum()
        assert len(found[0].instances) == len(found[1].instances) == 10
        union = np.any([pixels(instance) for instance in found[1].instances], axis=0)
        for answer in found:
            assert (answer.width, answer.height) == SIZE
            assert np.array_equal(pixels(answer.merged), union)
            assert answer.merged.score == answer.instances[0].score
        none = await service.SegmentText(text(png, 1.0), None)
        assert (len(none.instances), none.merged.area, pixels(none.merged).any()) == (0, 0, False)


async def test_memory_that_is_taken_away_is_told_and_nothing_is_decoded(segmentation: Opened) -> None:
    reached, decoded = threading.Event(), threading.Event()
    beat = threading.Event()

    def watched(models: Any, check: Callable[[], None]) -> None:
        def backbone(*_: Any) -> None:
            reached.set()
            # Goes on when the process has heard of it.
            try:
                while not beat.wait(0.01):
                    check()
            except LeaseLost:
                pass

        models.tracker.vision_encoder.register_forward_hook(backbone)
        models.tracker.mask_decoder.register_forward_hook(lambda *_: decoded.set())

    async with segmentation(watched) as opened:
        call = asyncio.create_task(opened.service.PredictMask(click(), None))
        assert await asyncio.to_thread(reached.wait, PATIENCE_S)
        lease_id = (await opened.arbiter.status()).leases[0].lease_id
        await opened.arbiter.stub.RevokeLease(pb.RevokeLeaseRequest(lease_id=lease_id, reason="for a test"))
        with pytest.raises(Unavailable) as caught:
            await call
        assert (caught.value.reason, caught.value.retry_after_s) == ("LEASE_LOST", 1.0)
        assert "for a test" in caught.value.message
        assert not decoded.is_set()
        beat.set()
        assert len((await opened.service.PredictMask(click(), None)).masks) == 1
        assert decoded.is_set()


async def test_who_goes_away_leaves_the_queue(segmentation: Opened, caplog: pytest.LogCaptureFixture) -> None:
    """While another tenant has the memory; the process's own threads are free all the time."""
    async with segmentation() as opened:
        held, go = threading.Event(), threading.Event()
        other = Residency(
            loop=asyncio.get_running_loop(),
            channel=opened.arbiter.channel,
            tenant="video",
            grades=[Grade(name="float32", bytes=700)],
            load=lambda grant, check: object(),
        )

        def busy() -> None:
            with other.turn("v"):
                held.set()
                assert go.wait(PATIENCE_S)

        holder = asyncio.create_task(asyncio.to_thread(busy))
        assert await asyncio.to_thread(held.wait, PATIENCE_S)
        calls = [asyncio.create_task(opened.service.PredictMask(click(), None)) for _ in range(32)]
        await opened.arbiter.until(lambda status: [waiter.tenant for waiter in status.queue] == ["segmentation"])
        residency = await asyncio.to_thread(opened.process.model.residency)
        # One asks the arbiter, the others wait behind it; all are at work, so one more is refused.
        await _until(lambda: residency.waiting_jobs == 31)
        with pytest.raises(ResourceExhausted) as caught:
            await opened.service.PredictMask(click(), None)
        assert (caught.value.reason, caught.value.retry_after_s) == ("QUEUE_FULL", 1.0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await opened.arbiter.until(lambda status: not status.queue)
        await _until(lambda: residency.waiting_jobs == 0)
        # That they ended is no error that somebody missed.
        gc.collect()
        assert [record.message for record in caplog.records if record.name == "asyncio"] == []
        go.set()
        await holder
        assert len((await opened.service.PredictMask(click(), None)).masks) == 1
        await other.close()


async def test_wrong_prompts_do_not_wait_for_memory(segmentation: Opened) -> None:
    async with segmentation() as opened:
        request = click()
        request.points[0].x = 301
        with pytest.raises(InvalidArgument) as caught:
            await opened.service.PredictMask(request, None)
        assert caught.value.violations[0].field == "points[0].x"
        assert not (await opened.arbiter.status()).leases


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.to_thread(threading.Event().wait, 0.01)
