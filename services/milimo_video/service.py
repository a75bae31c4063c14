"""VideoService: the edge between the contract and this service's plans and jobs."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from milimo.v1 import video_pb2, video_pb2_grpc
from milimo_runtime.answered import request_hash
from milimo_runtime.errors import fields_below
from milimo_runtime.job_messages import job_message, priority
from milimo_runtime.jobs import JobKind, NewJob, Notice, Subject
from milimo_runtime.worker_service import watch

from milimo_video import job_parameters
from milimo_video.elements import with_elements
from milimo_video.installed import checkpoint_of, compression_of, meet
from milimo_video.messages import plan_message, request_from
from milimo_video.plan import plan_video
from milimo_video.plan_notices import NO_PROVIDER
from milimo_video.still import image_parameters
from milimo_video.support import require_supported

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio
    from milimo.v1 import image_pb2, jobs_pb2
    from milimo_runtime.jobs import Job
    from milimo_runtime.model_process import ModelProcess
    from milimo_runtime.registry import InstalledModel
    from milimo_runtime.worker import Worker

    from milimo_video.loaded import LoadedVideo
    from milimo_video.plan import VideoPlan
    from milimo_video.request import VideoRequest
    from milimo_video.still import Stills

    Context = grpc.aio.ServicerContext[Any, Any]


class VideoService(video_pb2_grpc.VideoServiceServicer):
    """Videos."""

    def __init__(self, process: ModelProcess[LoadedVideo], worker: Worker, stills: Stills) -> None:
        self._process = process
        self._worker = worker
        self._stills = stills

    async def PlanVideo(self, request: video_pb2.PlanVideoRequest, context: Context) -> video_pb2.PlanVideoResponse:
        """What would be done, and why."""
        planned, plan, model = await asyncio.to_thread(self._plan, request.project_id, request.video)
        return video_pb2.PlanVideoResponse(plan=plan_message(plan, planned, model))

    async def SubmitVideo(
        self, request: video_pb2.SubmitVideoRequest, context: Context
    ) -> video_pb2.SubmitVideoResponse:
        """Takes the job in and answers with it."""
        image = await self._still(request.project_id, request.video)
        if image is not None:
            still = await self._stills.submit(request.project_id, image, request.request_id)
            return video_pb2.SubmitVideoResponse(job=still)
        job = await self._submit(request.project_id, request.video, request.request_id)
        return video_pb2.SubmitVideoResponse(job=job_message(job))

    async def GenerateVideo(
        self, request: video_pb2.GenerateVideoRequest, context: Context
    ) -> AsyncIterator[jobs_pb2.JobEvent]:
        """Takes the job in and streams its events."""
        image = await self._still(request.project_id, request.video)
        if image is None:
            job = await self._submit(request.project_id, request.video, request.request_id)
            events = watch(self._worker.store, self._worker.feed, job.id, previews=request.previews)
        else:
            events = self._stills.generate(request.project_id, image, request.request_id, previews=request.previews)
        async with contextlib.aclosing(events):
            async for event in events:
                yield event

    async def _still(self, project_id: str, video: video_pb2.VideoParameters) -> image_pb2.ImageParameters | None:
        """What ImageService is to make instead; None for a video of several frames."""
        if video.num_frames != 1 or video.extend_asset_id or video.HasField("retake"):
            return None
        request, _, _ = await asyncio.to_thread(self._plan, project_id, video)
        return image_parameters(video, request)

    async def _submit(self, project_id: str, video: video_pb2.VideoParameters, request_id: str) -> Job:
        digest = request_hash("video", project_id, video)
        # Before planning: a repeat finds its job also when what it was made from has gone.
        earlier = await self._worker.repeated(request_id, digest)
        if earlier is not None:
            return earlier
        request, plan, _ = await asyncio.to_thread(self._plan, project_id, video)
        require_supported(request, plan)
        await asyncio.to_thread(self._require_readable, request, plan)
        return await self._worker.submit(
            NewJob(
                kind=JobKind.VIDEO,
                subject=Subject(project_id=project_id, shot_id=video.shot_id),
                parameters=job_parameters.to_json(request, chunk_frames=self._process.settings.video_chunk_frames),
                priority=priority(video.priority),
                request_id=request_id,
                request_hash=digest,
                notices=tuple(Notice(code=notice.code, text=notice.text) for notice in plan.notices),
            )
        )

    def _plan(
        self, project_id: str, video: video_pb2.VideoParameters
    ) -> tuple[VideoRequest, VideoPlan, InstalledModel]:
        with self._process.database.read() as session:
            has_provider = self._process.settings.prompt_provider != "none"
            request = request_from(session, project_id, video, has_provider=has_provider)
        model = self._process.model.installed()
        with fields_below("video"):
            request = meet(model, request)
            with self._process.database.read() as session:
                request, told = with_elements(session, project_id, request)
            plan = plan_video(
                request,
                checkpoint_of(model),
                chunk_frames=self._process.settings.video_chunk_frames,
                compression=compression_of(model),
            )
        unheard = () if has_provider or not request.enhance_prompt else (NO_PROVIDER,)
        return request, replace(plan, notices=(*told, *unheard, *plan.notices)), model

    def _require_readable(self, request: VideoRequest, plan: VideoPlan) -> None:
        # PyAV takes a tenth of a second and 40 MB to import.
        from milimo_video.sources import require_readable

        require_readable(self._process, request, plan)
