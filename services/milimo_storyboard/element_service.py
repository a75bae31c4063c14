"""ElementService: the edge between the contract and `milimo_storyboard.elements`."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from milimo.v1 import common_pb2, elements_pb2, elements_pb2_grpc
from milimo_runtime.answered import answer_once
from milimo_runtime.assets import require_project
from milimo_runtime.elements import require_element
from milimo_runtime.job_messages import timestamp
from milimo_runtime.paging import Place, cut, page_size, place_of
from milimo_runtime.registry import LORA_PURPOSES, Registry

from milimo_storyboard import elements
from milimo_storyboard.elements import Element, ElementType, Lora

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection
    from pathlib import Path

    import grpc.aio
    from milimo_runtime.database import Database
    from sqlalchemy.orm import Session

    from milimo_storyboard.element_visuals import ElementVisuals
    from milimo_storyboard.job_relay import JobRelay

    Context = grpc.aio.ServicerContext[Any, Any]

_TYPES: Final = {kind: elements_pb2.ElementType.Value(f"ELEMENT_TYPE_{kind.name}") for kind in ElementType}
_TYPE_OF: Final = {number: kind for kind, number in _TYPES.items()}


class ElementService(elements_pb2_grpc.ElementServiceServicer):
    """Recurring characters, locations and objects."""

    def __init__(
        self, database: Database, relay: JobRelay, visuals: ElementVisuals, *, models_dir: Path, family: str
    ) -> None:
        """LoRAs are those of the family of models."""
        self._database = database
        self._relay = relay
        self._visuals = visuals
        self._models_dir = models_dir
        self._family = family

    async def CreateElement(
        self, request: elements_pb2.CreateElementRequest, context: Context
    ) -> elements_pb2.CreateElementResponse:
        """Makes an element."""
        return await asyncio.to_thread(self._create, request)

    def _create(self, request: elements_pb2.CreateElementRequest) -> elements_pb2.CreateElementResponse:
        loras = self._loras(request.element)
        return answer_once(
            self._database,
            request,
            elements_pb2.CreateElementResponse,
            lambda session: elements_pb2.CreateElementResponse(
                element=_message(
                    elements.create_element(session, _value(request.element, request.project_id), loras=loras)
                )
            ),
        )

    async def GetElement(
        self, request: elements_pb2.GetElementRequest, context: Context
    ) -> elements_pb2.GetElementResponse:
        """One element."""

        def find() -> elements_pb2.GetElementResponse:
            with self._database.read() as session:
                row = require_element(session, request.element_id)
                return elements_pb2.GetElementResponse(element=_message(elements.element_of(row)))

        return await asyncio.to_thread(find)

    async def ListElements(
        self, request: elements_pb2.ListElementsRequest, context: Context
    ) -> elements_pb2.ListElementsResponse:
        """A page of a project's elements."""
        size = page_size(request.page_size)
        after = place_of(request.page_token)

        def find() -> elements_pb2.ListElementsResponse:
            with self._database.read() as session:
                require_project(session, request.project_id)
                found = elements.list_elements(session, request.project_id, after=after, limit=size + 1)
            page, token = cut(found, size, _token, _message)
            return elements_pb2.ListElementsResponse(elements=page, next_page_token=token)

        return await asyncio.to_thread(find)

    async def UpdateElement(
        self, request: elements_pb2.UpdateElementRequest, context: Context
    ) -> elements_pb2.UpdateElementResponse:
        """Changes what the mask names, or without one what the request sets."""
        return await asyncio.to_thread(self._update, request)

    def _update(self, request: elements_pb2.UpdateElementRequest) -> elements_pb2.UpdateElementResponse:
        if request.update_mask.paths:
            fields = list(request.update_mask.paths)
        else:
            fields = [field.name for field, _ in request.element.ListFields() if field.name in elements.EDITABLE]
        loras = self._loras(request.element)
        return answer_once(
            self._database,
            request,
            elements_pb2.UpdateElementResponse,
            lambda session: elements_pb2.UpdateElementResponse(
                element=_message(elements.update_element(session, _value(request.element), fields, loras=loras))
            ),
        )

    async def DeleteElement(
        self, request: elements_pb2.DeleteElementRequest, context: Context
    ) -> elements_pb2.DeleteElementResponse:
        """Deletes an element; its images stay."""

        def delete(session: Session) -> elements_pb2.DeleteElementResponse:
            elements.delete_element(session, request.element_id)
            return elements_pb2.DeleteElementResponse()

        return await asyncio.to_thread(answer_once, self._database, request, elements_pb2.DeleteElementResponse, delete)

    async def SubmitElementVisual(
        self, request: elements_pb2.SubmitElementVisualRequest, context: Context
    ) -> elements_pb2.SubmitElementVisualResponse:
        """Has a picture made, and answers with the job."""
        return elements_pb2.SubmitElementVisualResponse(job=await self._visuals.submit(request))

    async def GenerateElementVisual(
        self, request: elements_pb2.GenerateElementVisualRequest, context: Context
    ) -> AsyncGenerator[Any]:
        """Has a picture made, and streams the job's events, each serialised once for all who watch it."""
        asked = elements_pb2.SubmitElementVisualRequest(element_id=request.element_id, request_id=request.request_id)
        if request.HasField("seed"):
            asked.seed = request.seed
        job = await self._visuals.submit(asked)
        async with contextlib.aclosing(self._relay.watch(job.id, after=0, previews=request.previews)) as events:
            async for told in events:
                yield told.data

    def _loras(self, element: elements_pb2.Element) -> Collection[str]:
        """The names of the LoRAs that there are; they are looked up only for a request that names one."""
        if not element.HasField("lora"):
            return ()
        models = Registry(self._models_dir, self._family).models()
        return {model.manifest.name for model in models if model.manifest.purpose in LORA_PURPOSES}


def _token(element: Element) -> str:
    assert element.created_at is not None
    return Place(time=element.created_at, id=element.id).token


def _value(message: elements_pb2.Element, project_id: str = "") -> Element:
    lora = message.lora
    return Element(
        id=message.id,
        project_id=project_id,
        name=message.name,
        type=_TYPE_OF.get(message.type),
        trigger_word=message.trigger_word,
        description=message.description,
        image_asset_ids=tuple(message.image_asset_ids),
        lora=Lora(name=lora.name, weight=lora.weight if lora.HasField("weight") else None)
        if message.HasField("lora")
        else None,
    )


def _message(element: Element) -> elements_pb2.Element:
    lora = element.lora
    return elements_pb2.Element(
        id=element.id,
        project_id=element.project_id,
        name=element.name,
        type=elements_pb2.ELEMENT_TYPE_UNSPECIFIED if element.type is None else _TYPES[element.type],
        trigger_word=element.trigger_word,
        description=element.description,
        image_asset_ids=element.image_asset_ids,
        lora=None if lora is None else common_pb2.Lora(name=lora.name, weight=lora.weight),
        created_at=timestamp(element.created_at),
        updated_at=timestamp(element.updated_at),
    )
