"""A video of one frame is an image: ImageService makes it; the job, its events and its result are ImageService's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import grpc.aio
from milimo.v1 import image_pb2, image_pb2_grpc
from milimo_runtime.channels import CLIENT_OPTIONS, open_channel
from milimo_runtime.statuses import from_rpc_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from milimo.v1 import jobs_pb2, video_pb2
    from milimo_runtime.errors import MilimoError

    from milimo_video.request import VideoRequest


class Stills:
    """The image process, as far as videos of one frame need it."""

    def __init__(self, address: str) -> None:
        """`address` is where ImageService answers; nothing is connected before the first call."""
        self._calls = open_channel(address)
        # Streams have no interceptors: a call that has some takes the cancellation of whoever awaits its initial
        # metadata for an answer.
        self._streams = grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS)

    async def submit(self, project_id: str, image: image_pb2.ImageParameters, request_id: str) -> jobs_pb2.Job:
        """The job that makes the image. Raises what ImageService answers, with the video's fields."""
        request = image_pb2.SubmitImageRequest(project_id=project_id, image=image, request_id=request_id)
        try:
            answer = await image_pb2_grpc.ImageServiceStub(self._calls).SubmitImage(request)
        except grpc.aio.AioRpcError as error:
            raise _of_video(from_rpc_error(error)) from error
        return answer.job

    async def generate(
        self, project_id: str, image: image_pb2.ImageParameters, request_id: str, *, previews: bool
    ) -> AsyncGenerator[jobs_pb2.JobEvent]:
        """The same, with the job's events."""
        request = image_pb2.GenerateImageRequest(
            project_id=project_id, image=image, request_id=request_id, previews=previews
        )
        call = image_pb2_grpc.ImageServiceStub(self._streams).GenerateImage(request)
        try:
            async for event in call:
                yield event
        except grpc.aio.AioRpcError as error:
            raise _of_video(from_rpc_error(error)) from error
        finally:
            call.cancel()

    async def aclose(self) -> None:
        """Closes the channels."""
        await self._calls.close()
        await self._streams.close()


def image_parameters(video: video_pb2.VideoParameters, request: VideoRequest) -> image_pb2.ImageParameters:
    """What ImageService is asked for: prompt, size and seed as given, the images of conditions as references.

    `request` is what was read of `video`. Steps and guidance are the image model's own.
    """
    image = image_pb2.ImageParameters(
        prompt=video.prompt,
        negative_prompt=video.negative_prompt,
        width=request.width,
        height=request.height,
        reference_asset_ids=[condition.asset_id for condition in request.conditions if condition.kind == "image"],
        priority=video.priority,
    )
    if video.HasField("seed"):
        image.seed = video.seed
    if video.HasField("enhance_prompt"):
        image.enhance_prompt = video.enhance_prompt
    return image


def _of_video(error: MilimoError) -> MilimoError:
    """The error with the fields of the request that was made to VideoService."""

    def of_video(text: str) -> str:
        return "video." + text.removeprefix("image.") if text.startswith("image.") else text

    error.violations = tuple(replace(violation, field=of_video(violation.field)) for violation in error.violations)
    error.message = of_video(error.message)
    return error
