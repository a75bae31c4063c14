"""The storyboard process: projects, assets, jobs, models and storyboards. Starts without torch."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

from milimo.v1 import (
    assets_pb2_grpc,
    elements_pb2_grpc,
    jobs_pb2_grpc,
    models_pb2_grpc,
    projects_pb2_grpc,
    prompts_pb2_grpc,
    storyboard_pb2_grpc,
)
from milimo_runtime.database import Database
from milimo_runtime.job_store import JobStore
from milimo_runtime.media import MediaStore
from milimo_runtime.registry import Registry
from milimo_runtime.server import Served, run
from milimo_runtime.settings import ServiceSettings

from milimo_storyboard.asset_service import AssetService
from milimo_storyboard.element_service import ElementService
from milimo_storyboard.element_visuals import ElementVisuals
from milimo_storyboard.job_relay import JobRelay
from milimo_storyboard.job_service import JobService
from milimo_storyboard.model_service import ModelService
from milimo_storyboard.project_service import ProjectService
from milimo_storyboard.prompt_service import PromptService
from milimo_storyboard.storyboard_service import StoryboardService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

SERVICES = (
    "milimo.v1.ProjectService",
    "milimo.v1.ElementService",
    "milimo.v1.AssetService",
    "milimo.v1.StoryboardService",
    "milimo.v1.PromptService",
    "milimo.v1.JobService",
    "milimo.v1.ModelService",
)


def main() -> int:
    """Serves until SIGTERM; returns the exit status."""
    settings = ServiceSettings()

    @contextlib.asynccontextmanager
    async def setup(server: grpc.aio.Server) -> AsyncIterator[Served]:
        database = Database(settings.database)
        await asyncio.to_thread(database.migrate)
        media = MediaStore(settings.media)
        store = JobStore(database, open_jobs=settings.job_queue_bound)
        relay = JobRelay(store, [settings.video_address, settings.image_address])
        visuals = ElementVisuals(store, settings.image_address)
        elements = ElementService(database, relay, visuals, models_dir=settings.models, family=settings.model_family)
        projects = ProjectService(database, media, Registry(settings.models, settings.model_family))
        projects_pb2_grpc.add_ProjectServiceServicer_to_server(projects, server)
        elements_pb2_grpc.add_ElementServiceServicer_to_server(elements, server)
        assets = AssetService(database, media, settings.scratch / f"storyboard-{settings.executor_id}")
        assets_pb2_grpc.add_AssetServiceServicer_to_server(assets, server)
        storyboard_pb2_grpc.add_StoryboardServiceServicer_to_server(StoryboardService(database), server)
        prompts_pb2_grpc.add_PromptServiceServicer_to_server(PromptService(), server)
        jobs_pb2_grpc.add_JobServiceServicer_to_server(JobService(store, relay), server)
        models_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(settings.models, settings.model_family), server)
        try:
            yield Served(services=SERVICES)
        finally:
            await relay.close()
            await visuals.close()
            await assets.close()
            database.close()

    return run(name="storyboard", address=settings.storyboard_address, settings=settings, setup=setup)


if __name__ == "__main__":
    sys.exit(main())
