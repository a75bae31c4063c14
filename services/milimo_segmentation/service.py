"""SegmentationService: masks by clicks, boxes and text."""

from __future__ import annotations

import hashlib
import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from milimo.v1 import segmentation_pb2, segmentation_pb2_grpc
from milimo_runtime.assets import AssetKind, require_asset
from milimo_runtime.errors import InvalidArgument, Unavailable
from milimo_runtime.images import decode_image
from milimo_runtime.later import later, later_stream
from milimo_runtime.lease_terms import LeaseLost, Priority, QueuePlace
from milimo_runtime.observer import JobCancelled

from milimo_segmentation import defaults
from milimo_segmentation.messages import boxes_from, points_from, predicted, segmented
from milimo_segmentation.prompts import check_prompts

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc.aio
    from milimo.v1 import common_pb2
    from milimo_runtime.model_process import ModelProcess
    from milimo_runtime.residency import Residency
    from milimo_runtime.turn import Turn
    from PIL.Image import Image

    from milimo_segmentation.calls import Calls
    from milimo_segmentation.model import LoadedSegmentation

    Context = grpc.aio.ServicerContext[Any, Any]

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A decoded image, and a digest of the file that it was."""

    image: Image
    key: str


class SegmentationService(segmentation_pb2_grpc.SegmentationServiceServicer):
    """Masks. Somebody waits in front of the screen: every call asks for memory with high priority.

    A call is one thread: it decodes the image, waits for its turn, and encodes the masks when its turn is over.
    """

    def __init__(self, process: ModelProcess[LoadedSegmentation], calls: Calls) -> None:
        self._process = process
        self._calls = calls

    async def PredictMask(
        self, request: segmentation_pb2.PredictMaskRequest, context: Context
    ) -> segmentation_pb2.PredictMaskResponse:
        """The object under clicks and a box."""
        points, boxes = points_from(request.points), boxes_from(request.boxes)

        def call(waiter: Waiter) -> segmentation_pb2.PredictMaskResponse:
            picture = self._picture(request.image)
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
                masks = self._on_a_turn(waiter, predict)
                with self._calls.encoding():
                    return predicted(masks, request.mask_format, width=image.width, height=image.height)

        return await self._call(call)

    async def SegmentText(
        self, request: segmentation_pb2.SegmentTextRequest, context: Context
    ) -> segmentation_pb2.SegmentTextResponse:
        """Everything that a text names."""
        confidence = request.confidence if request.HasField("confidence") else defaults.DEFAULT_CONFIDENCE

        def call(waiter: Waiter) -> segmentation_pb2.SegmentTextResponse:
            picture = self._picture(request.image)
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
                instances = self._on_a_turn(waiter, segment)
                with self._calls.encoding():
                    return segmented(
                        instances, request.text, request.mask_format, width=image.width, height=image.height
                    )

        return await self._call(call)

    Detect = later("detection by text and examples")
    StartTracking = PromptTracking = StopTracking = RemoveTrackedObject = ExportTracking = later("tracking in videos")
    PropagateTracking = later_stream("tracking in videos")
    EditMask = later("editing masks")

    def _picture(self, source: common_pb2.ImageSource) -> Picture:
        """The image that a request brings or names. Raises NotFound, InvalidArgument."""
        if source.WhichOneof("source") == "content":
            image = decode_image(source.content, field="image.content")
            return Picture(image=image, key=hashlib.sha256(source.content).hexdigest())
        with self._process.database.read() as session:
            asset = require_asset(session, source.asset_id, field_name="image.asset_id")
        if asset.kind not in (AssetKind.IMAGE, AssetKind.MASK):
            raise InvalidArgument("image.asset_id", f"is a {asset.kind}; an image is expected")
        with self._process.media.local(asset.key, scratch=self._process.scratch) as path:
            return Picture(image=decode_image(path, field="image.asset_id"), key=asset.sha256)

    async def _call(self, work: Callable[[Waiter], R]) -> R:
        """Runs a call in its thread; when the caller goes away, it leaves the queue."""
        waiter = Waiter(f"call-{uuid.uuid4().hex}")
        answered = False
        try:
            answer = await self._calls.run(lambda: work(waiter))
            answered = True
        finally:
            if not answered:
                waiter.leave()
        return answer

    def _on_a_turn(self, waiter: Waiter, work: Callable[[Turn[LoadedSegmentation]], R]) -> R:
        """Does `work` on a turn of its own.

        Raises:
            Unavailable: the memory was taken away meanwhile; nothing was done.
            JobCancelled: the caller went away.
        """
        residency = waiter.at(self._process.model.residency())
        try:
            with residency.turn(waiter.id, Priority.HIGH, waiter.on_waiting) as turn:
                waiter.check()
                return turn.with_room(lambda: work(turn))
        except LeaseLost as error:
            raise Unavailable(
                f"the accelerator's memory was taken away during the call: {error}",
                reason="LEASE_LOST",
                retry_after_s=defaults.RETRY_SECONDS,
            ) from error


class Waiter:
    """A call as it waits in a residency's queue: its caller may go away."""

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self._gone = threading.Event()
        self._residency: Residency[LoadedSegmentation] | None = None

    def at(self, residency: Residency[LoadedSegmentation]) -> Residency[LoadedSegmentation]:
        """Says where it is about to wait."""
        self._residency = residency
        # Whoever left before this woke nobody.
        self.check()
        return residency

    def leave(self) -> None:
        """The caller went away: the call ends when it is not yet at work."""
        self._gone.set()
        if self._residency is not None:
            self._residency.wake(self.id)

    def check(self) -> None:
        """Raises JobCancelled when the caller went away."""
        if self._gone.is_set():
            raise JobCancelled

    def on_waiting(self, place: QueuePlace) -> None:
        """Called by the residency with each place."""
        self.check()
