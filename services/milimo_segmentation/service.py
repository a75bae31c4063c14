"""SegmentationService: masks by clicks, boxes and text."""

from __future__ import annotations

import asyncio
import threading
import uuid
from typing import TYPE_CHECKING, Any, TypeVar

from milimo.v1 import segmentation_pb2, segmentation_pb2_grpc
from milimo_runtime.assets import AssetKind, require_asset
from milimo_runtime.errors import InvalidArgument
from milimo_runtime.images import decode_image
from milimo_runtime.later import later, later_stream
from milimo_runtime.lease_terms import Priority, QueuePlace
from milimo_runtime.observer import JobCancelled

from milimo_segmentation import defaults
from milimo_segmentation.messages import boxes_from, mask_message, points_from
from milimo_segmentation.prompts import check_prompts

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc.aio
    from milimo.v1 import common_pb2
    from milimo_runtime.model_process import ModelProcess
    from PIL.Image import Image

    from milimo_segmentation.model import LoadedSegmentation

    Context = grpc.aio.ServicerContext[Any, Any]

R = TypeVar("R")


class SegmentationService(segmentation_pb2_grpc.SegmentationServiceServicer):
    """Masks. Somebody waits in front of the screen: every call asks for memory with high priority."""

    def __init__(self, process: ModelProcess[LoadedSegmentation]) -> None:
        self._process = process

    async def PredictMask(
        self, request: segmentation_pb2.PredictMaskRequest, context: Context
    ) -> segmentation_pb2.PredictMaskResponse:
        """The object under clicks and a box."""
        image = await asyncio.to_thread(self._image, request.image)
        points, boxes = points_from(request.points), boxes_from(request.boxes)
        check_prompts(points, boxes, width=image.width, height=image.height)

        def predict(loaded: LoadedSegmentation) -> segmentation_pb2.PredictMaskResponse:
            from milimo_segmentation.predict import predict_mask

            masks = predict_mask(loaded.models, loaded.embeddings, image, points, boxes, multimask=request.multimask)
            best_first = sorted(masks, key=lambda mask: -mask.score)
            return segmentation_pb2.PredictMaskResponse(
                masks=[mask_message(mask.array, mask.score, request.mask_format) for mask in best_first],
                width=image.width,
                height=image.height,
            )

        return await self._with_model(predict)

    async def SegmentText(
        self, request: segmentation_pb2.SegmentTextRequest, context: Context
    ) -> segmentation_pb2.SegmentTextResponse:
        """Everything that a text names."""
        image = await asyncio.to_thread(self._image, request.image)
        confidence = request.confidence if request.HasField("confidence") else defaults.DEFAULT_CONFIDENCE

        def segment(loaded: LoadedSegmentation) -> segmentation_pb2.SegmentTextResponse:
            from milimo_segmentation.text import segment_text

            found = segment_text(loaded.models, loaded.embeddings, image, request.text, confidence=confidence)
            best = max((instance.score for instance in found.instances), default=0.0)
            return segmentation_pb2.SegmentTextResponse(
                merged=mask_message(found.merged, best, request.mask_format, label=request.text),
                instances=[
                    mask_message(instance.mask, instance.score, request.mask_format, label=request.text)
                    for instance in found.instances
                ],
                width=image.width,
                height=image.height,
            )

        return await self._with_model(segment)

    Detect = later("detection by text and examples")
    StartTracking = PromptTracking = StopTracking = RemoveTrackedObject = ExportTracking = later("tracking in videos")
    PropagateTracking = later_stream("tracking in videos")
    EditMask = later("editing masks")

    def _image(self, source: common_pb2.ImageSource) -> Image:
        """The image that a request brings or names. Raises NotFound, InvalidArgument."""
        if source.WhichOneof("source") == "content":
            return decode_image(source.content, field="image.content")
        with self._process.database.read() as session:
            asset = require_asset(session, source.asset_id, field_name="image.asset_id")
        if asset.kind not in (AssetKind.IMAGE, AssetKind.MASK):
            raise InvalidArgument("image.asset_id", f"is a {asset.kind}; an image is expected")
        with self._process.media.local(asset.key, scratch=self._process.scratch) as path:
            return decode_image(path.read_bytes(), field="image.asset_id")

    async def _with_model(self, work: Callable[[LoadedSegmentation], R]) -> R:
        """Runs `work` in a thread on a turn of its own; a caller who goes away leaves the queue."""
        residency = await asyncio.to_thread(self._process.model.residency)
        gone = threading.Event()
        call_id = f"call-{uuid.uuid4().hex}"

        def on_waiting(place: QueuePlace) -> None:
            if gone.is_set():
                raise JobCancelled

        def run() -> R:
            with residency.turn(call_id, Priority.HIGH, on_waiting) as turn:
                return work(turn.model)

        try:
            return await asyncio.to_thread(run)
        finally:
            gone.set()
            residency.wake(call_id)
