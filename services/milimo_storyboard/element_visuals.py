"""Pictures of elements: jobs of the image process, which adds their results to the element when they have succeeded.

The job is stored by the process that runs it before this one answers: nothing is lost when this one dies in between.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from milimo.v1 import elements_pb2, image_pb2, image_pb2_grpc
from milimo_runtime.answered import one_at_a_time, recall, remember, request_hash
from milimo_runtime.channels import open_channel
from milimo_runtime.elements import ELEMENT_IMAGES, require_element
from milimo_runtime.errors import FailedPrecondition, Unavailable
from milimo_runtime.job_messages import job_message
from milimo_runtime.jobs import JobKind
from milimo_runtime.schema import AnsweredRow
from milimo_runtime.statuses import from_rpc_error

from milimo_storyboard.elements import element_of
from milimo_storyboard.visual_prompts import VISUAL_SIDE, visual_prompt

if TYPE_CHECKING:
    from milimo.v1 import jobs_pb2
    from milimo_runtime.job_store import JobStore


class ElementVisuals:
    """Asks the image process for pictures of elements."""

    def __init__(self, store: JobStore, image_address: str) -> None:
        """Connects when it is first asked."""
        self._store = store
        self._channel = open_channel(image_address)
        self._images = image_pb2_grpc.ImageServiceStub(self._channel)

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()

    async def submit(self, request: elements_pb2.SubmitElementVisualRequest) -> jobs_pb2.Job:
        """The job that makes the picture; a repeated request id finds its first one.

        Raises:
            NotFound: there is no such element.
            FailedPrecondition: the element has as many images as it may (ELEMENT_FULL).
            AlreadyExists: the request id was used with another request.
            Unavailable: the image process does not answer.
            MilimoError: what the image process refused.
        """
        bare = elements_pb2.SubmitElementVisualRequest()
        bare.CopyFrom(request)
        bare.ClearField("request_id")
        digest = request_hash(JobKind.ELEMENT_VISUAL.value, bare)
        # The image process knows the request by an id of its own: what the element is now is part of what it is asked.
        inner = str(uuid.uuid5(uuid.UUID(request.request_id), digest)) if request.request_id else ""
        job_id = await asyncio.to_thread(self._earlier, request.request_id, digest, inner)
        if job_id is not None:
            await asyncio.to_thread(self._remember, request.request_id, digest, job_id)
            return job_message(await asyncio.to_thread(self._store.get, job_id))
        asked = await asyncio.to_thread(self._asked, request, inner)
        try:
            job = (await self._images.SubmitImage(asked)).job
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise Unavailable("the image service does not answer; repeat the call a little later") from error
            raise from_rpc_error(error) from error
        await asyncio.to_thread(self._remember, request.request_id, digest, job.id)
        return job

    def _earlier(self, request_id: str, digest: str, inner: str) -> str | None:
        """The job that an earlier request with the same id made, also when this process died before it was recorded."""
        with self._store.database.read() as session:
            given = recall(session, request_id, digest)
            if given is not None:
                return given.decode()
            row = session.get(AnsweredRow, inner) if inner else None
            return None if row is None else row.response.decode()

    def _asked(self, request: elements_pb2.SubmitElementVisualRequest, inner: str) -> image_pb2.SubmitImageRequest:
        with self._store.database.read() as session:
            element = element_of(require_element(session, request.element_id))
        if len(element.image_asset_ids) >= ELEMENT_IMAGES:
            raise FailedPrecondition(
                f"element_id: the element has {ELEMENT_IMAGES} images, as many as it may; remove some first",
                reason="ELEMENT_FULL",
            )
        image = image_pb2.ImageParameters(
            prompt=visual_prompt(element), width=VISUAL_SIDE, height=VISUAL_SIDE, element_id=element.id
        )
        if request.HasField("seed"):
            image.seed = request.seed
        return image_pb2.SubmitImageRequest(project_id=element.project_id, image=image, request_id=inner)

    def _remember(self, request_id: str, digest: str, job_id: str) -> None:
        with self._store.database.write() as session:
            one_at_a_time(session, request_id)
            if recall(session, request_id, digest) is None:
                kind = JobKind.ELEMENT_VISUAL.value
                remember(session, request_id, method=kind, digest=digest, answer=job_id.encode())
