"""ImageService: the edge between the contract and this service's plans and jobs."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from milimo.v1 import image_pb2, image_pb2_grpc
from milimo_runtime.answered import request_hash
from milimo_runtime.errors import Unimplemented, fields_below
from milimo_runtime.job_messages import job_message, priority
from milimo_runtime.jobs import JobKind, NewJob, Notice, Subject
from milimo_runtime.later import later, later_stream
from milimo_runtime.seeds import draw_seed
from milimo_runtime.worker_service import watch

from milimo_image.messages import request_from, to_json
from milimo_image.plan import plan_image
from milimo_image.program import is_distilled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio
    from milimo.v1 import jobs_pb2
    from milimo_runtime.jobs import Job
    from milimo_runtime.model_process import ModelProcess
    from milimo_runtime.worker import Worker

    from milimo_image.program import LoadedImage

    Context = grpc.aio.ServicerContext[Any, Any]


class ImageService(image_pb2_grpc.ImageServiceServicer):
    """Images."""

    def __init__(self, process: ModelProcess[LoadedImage], worker: Worker) -> None:
        self._process = process
        self._worker = worker

    async def SubmitImage(
        self, request: image_pb2.SubmitImageRequest, context: Context
    ) -> image_pb2.SubmitImageResponse:
        """Takes the job in and answers with it."""
        job = await self._submit(request.project_id, request.image, request.request_id)
        return image_pb2.SubmitImageResponse(job=job_message(job))

    async def GenerateImage(
        self, request: image_pb2.GenerateImageRequest, context: Context
    ) -> AsyncIterator[jobs_pb2.JobEvent]:
        """Takes the job in and streams its events."""
        job = await self._submit(request.project_id, request.image, request.request_id)
        events = watch(self._worker.store, self._worker.feed, job.id, previews=request.previews)
        async with contextlib.aclosing(events):
            async for event in events:
                yield event

    async def _submit(self, project_id: str, image: image_pb2.ImageParameters, request_id: str) -> Job:
        digest = request_hash("image", project_id, image)
        # Before planning: a repeat finds its job also when what it was made from has gone.
        earlier = await self._worker.repeated(request_id, digest)
        if earlier is not None:
            return earlier
        parameters, notices = await asyncio.to_thread(self._planned, image)
        return await self._worker.submit(
            NewJob(
                kind=JobKind.IMAGE,
                subject=Subject(project_id=project_id),
                parameters=parameters,
                priority=priority(image.priority),
                request_id=request_id,
                request_hash=digest,
                notices=notices,
            )
        )

    def _planned(self, image: image_pb2.ImageParameters) -> tuple[dict[str, Any], tuple[Notice, ...]]:
        """The job's parameters, after a plan showed that it can be made, and what the plan says of them."""
        installed = self._process.model.installed()
        with fields_below("image"):
            request = request_from(image)
            plan = plan_image(request, is_distilled=is_distilled(installed), random_seed=draw_seed())
        if request.enable_true_cfg:
            raise Unimplemented("true CFG")
        notices = tuple(Notice(code=notice.code, text=notice.text) for notice in plan.notices)
        return to_json(request, plan.seeds[0]), notices

    SubmitInpaint = later("inpainting")
    Inpaint = later_stream("inpainting")
