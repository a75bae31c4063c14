"""ModelService: the models that are installed on this machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from milimo.v1 import models_pb2, models_pb2_grpc
from milimo_runtime.paging import cut, page_size
from milimo_runtime.registry import InstalledModel, Registry

if TYPE_CHECKING:
    from pathlib import Path

    import grpc.aio

    Context = grpc.aio.ServicerContext[Any, Any]


class ModelService(models_pb2_grpc.ModelServiceServicer):
    """Reads the manifests at each call: models may be installed while the mesh runs."""

    def __init__(self, models_dir: Path, family: str) -> None:
        self._models_dir = models_dir
        self._family = family

    async def ListModels(
        self, request: models_pb2.ListModelsRequest, context: Context
    ) -> models_pb2.ListModelsResponse:
        """The models of a family."""
        size = page_size(request.page_size)

        def find() -> models_pb2.ListModelsResponse:
            known = {folder.name for folder in self._models_dir.glob("*") if folder.is_dir()}
            family = request.family or self._family
            models = Registry(self._models_dir, family).models() if family in known else []
            rest = [model for model in models if model.manifest.name > request.page_token]
            page, token = cut(rest[: size + 1], size, lambda model: model.manifest.name, _message)
            return models_pb2.ListModelsResponse(models=page, next_page_token=token)

        return await asyncio.to_thread(find)

    async def GetModel(self, request: models_pb2.GetModelRequest, context: Context) -> models_pb2.GetModelResponse:
        """One model of the family in use."""
        model = await asyncio.to_thread(Registry(self._models_dir, self._family).model, request.name)
        return models_pb2.GetModelResponse(model=await asyncio.to_thread(_message, model))


def _message(model: InstalledModel) -> models_pb2.Model:
    manifest = model.manifest
    found = model.check()
    complete = all(status.status == "ok" for status in found)
    return models_pb2.Model(
        name=manifest.name,
        family=manifest.family,
        purpose=manifest.purpose,
        complete=complete,
        files=[
            models_pb2.ModelFile(
                path=f"{manifest.family}/{manifest.name}/{status.file.path}",
                bytes=status.file.bytes,
                sha256=status.file.sha256,
                status=status.status,
            )
            for status in found
        ],
        footprints=[
            models_pb2.ModelFootprint(name=footprint.name, bytes=footprint.bytes) for footprint in manifest.footprints
        ],
        license=manifest.license,
        advice="" if complete else manifest.advice,
        note=manifest.note,
    )
