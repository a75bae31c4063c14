"""SegmentationService: masks by clicks, boxes and text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from milimo.v1 import segmentation_pb2, segmentation_pb2_grpc
from milimo_runtime.calls import on_a_turn
from milimo_runtime.image_source import read_picture
from milimo_runtime.later import later, later_stream

from milimo_segmentation import defaults
from milimo_segmentation.messages import boxes_from, points_from, predicted, segmented
from milimo_segmentation.prompts import check_prompts

if TYPE_CHECKING:
    import grpc.aio
    from milimo_runtime.calls import Waiter
    from milimo_runtime.model_process import ModelProcess
    from milimo_runtime.turn import Turn

    from milimo_segmentation.calls import SegmentationCalls
    from milimo_segmentation.model import LoadedSegmentation

    Context = grpc.aio.ServicerContext[Any, Any]


class SegmentationService(segmentation_pb2_grpc.SegmentationServiceServicer):
    """Masks. Somebody waits in front of the screen: every call asks for memory with high priority.

    A call is one thread: it decodes the image, waits for its turn, and encodes the masks when its turn is over.
    """

    def __init__(self, process: ModelProcess[LoadedSegmentation], calls: SegmentationCalls) -> None:
        self._process = process
        self._calls = calls

    async def PredictMask(
        self, request: segmentation_pb2.PredictMaskRequest, context: Context
    ) -> segmentation_pb2.PredictMaskResponse:
        """The object under clicks and a box."""
        points, boxes = points_from(request.points), boxes_from(request.boxes)

        def call(waiter: Waiter) -> segmentation_pb2.PredictMaskResponse:
            picture = read_picture(self._process, request.image)
            image = picture.image
            check_prompts(points, boxes, width=image.width, height=image.height)

            def predict(turn: Turn[LoadedSegmentation]) -> Any:
                from milimo_segmentation.predict import predict_mask

                loaded = turn.model
                return predict_mask(
                    loaded.models,
                    loaded.embeddings,
                    image,
                    points,
                    boxes,
                    multimask=request.multimask,
                    key=picture.key,
                    check=turn.check,
                )

            with self._calls.holding(image.width * image.height):
                masks = on_a_turn(self._process.model.residency(), waiter, predict)
                with self._calls.encoding():
                    return predicted(masks, request.mask_format, width=image.width, height=image.height)

        return await self._calls.answer(call)

    async def SegmentText(
        self, request: segmentation_pb2.SegmentTextRequest, context: Context
    ) -> segmentation_pb2.SegmentTextResponse:
        """Everything that a text names."""
        confidence = request.confidence if request.HasField("confidence") else defaults.DEFAULT_CONFIDENCE

        def call(waiter: Waiter) -> segmentation_pb2.SegmentTextResponse:
            picture = read_picture(self._process, request.image)
            image = picture.image

            def segment(turn: Turn[LoadedSegmentation]) -> Any:
                from milimo_segmentation.text import segment_text

                loaded = turn.model
                return segment_text(
                    loaded.models,
                    loaded.embeddings,
                    image,
                    request.text,
                    confidence=confidence,
                    key=picture.key,
                    check=turn.check,
                )

            with self._calls.holding(image.width * image.height):
                instances = on_a_turn(self._process.model.residency(), waiter, segment)
                with self._calls.encoding():
                    return segmented(
                        instances,
                        request.text,
                        request.mask_format,
                        width=image.width,
                        height=image.height,
                        merged_only=request.merged_only,
                    )

        return await self._calls.answer(call)

    Detect = later("detection by text and examples")
    StartTracking = PromptTracking = StopTracking = RemoveTrackedObject = ExportTracking = later("tracking in videos")
    PropagateTracking = later_stream("tracking in videos")
    EditMask = later("editing masks")
