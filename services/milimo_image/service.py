"""ImageService: the edge between the contract and this service's plans and jobs."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from milimo.v1 import image_pb2, image_pb2_grpc
from milimo_runtime.answered import request_hash
from milimo_runtime.errors import fields_below
from milimo_runtime.job_messages import job_message, priority
from milimo_runtime.jobs import JobKind, NewJob, Notice, Subject
from milimo_runtime.seeds import draw_seed
from milimo_runtime.worker_service import watch

from milimo_image.autoencoder import autoencoders_at
from milimo_image.elements import with_elements
from milimo_image.ip_adapter_files import has_ip_adapter, ip_adapter_files
from milimo_image.messages import inpaint_request_from, request_from, to_json
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

    async def SubmitInpaint(
        self, request: image_pb2.SubmitInpaintRequest, context: Context
    ) -> image_pb2.SubmitInpaintResponse:
        """Takes the job in and answers with it."""
        job = await self._submit(request.project_id, request.inpaint, request.request_id)
        return image_pb2.SubmitInpaintResponse(job=job_message(job))

    async def Inpaint(self, request: image_pb2.InpaintRequest, context: Context) -> AsyncIterator[jobs_pb2.JobEvent]:
        """Takes the job in and streams its events."""
        job = await self._submit(request.project_id, request.inpaint, request.request_id)
        events = watch(self._worker.store, self._worker.feed, job.id, previews=request.previews)
        async with contextlib.aclosing(events):
            async for event in events:
                yield event

    async def _submit(
        self, project_id: str, asked: image_pb2.ImageParameters | image_pb2.InpaintParameters, request_id: str
    ) -> Job:
        element_id = asked.element_id if isinstance(asked, image_pb2.ImageParameters) else ""
        if isinstance(asked, image_pb2.InpaintParameters):
            kind = JobKind.INPAINT
        else:
            kind = JobKind.ELEMENT_VISUAL if element_id else JobKind.IMAGE
        digest = request_hash(kind.value, project_id, asked)
        # Before planning: a repeat finds its job also when what it was made from has gone.
        earlier = await self._worker.repeated(request_id, digest)
        if earlier is not None:
            return earlier
        parameters, notices = await asyncio.to_thread(self._planned, project_id, asked)
        return await self._worker.submit(
            NewJob(
                kind=kind,
                subject=Subject(project_id=project_id, element_id=element_id),
                parameters=parameters,
                priority=priority(asked.priority),
                request_id=request_id,
                request_hash=digest,
                notices=notices,
            )
        )

    def _planned(
        self, project_id: str, asked: image_pb2.ImageParameters | image_pb2.InpaintParameters
    ) -> tuple[dict[str, Any], tuple[Notice, ...]]:
        """The job's parameters, after a plan showed that it can be made, and what the plan says of them."""
        with self._process.database.read() as session:
            if isinstance(asked, image_pb2.ImageParameters):
                has_provider = self._process.settings.prompt_provider != "none"
                request, below = request_from(session, project_id, asked, has_provider=has_provider), "image"
                subject = asked.element_id
            else:
                request, below = inpaint_request_from(session, project_id, asked), "inpaint"
                subject = ""
            request, told = with_elements(session, project_id, request, asked.element_ids, below=below, subject=subject)
        installed = self._process.model.installed()
        if request.inpaint is None and (request.width, request.height) == (None, None) and installed.manifest.width:
            request = replace(request, width=installed.manifest.width, height=installed.manifest.height)
        with fields_below(below):
            plan = plan_image(
                request,
                is_distilled=is_distilled(installed),
                random_seed=draw_seed(),
                autoencoders=autoencoders_at(installed.root),
                ip_adapter=has_ip_adapter(installed.root),
            )
        if plan.ip_adapter:
            ip_adapter_files(installed.root)  # a damaged one is said before the job waits for memory
        notices = tuple(Notice(code=notice.code, text=notice.text) for notice in plan.notices)
        return to_json(request, plan.seeds[0]), (*told, *notices)
