"""The segmentation process: SAM 3 under a lease. torch is imported by the first call, not by the start."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from milimo.v1 import segmentation_pb2_grpc
from milimo_runtime.model_process import open_model_process
from milimo_runtime.server import Served, serve
from milimo_runtime.settings import ServiceSettings

from milimo_segmentation.model import load
from milimo_segmentation.service import SegmentationService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio


def main() -> None:
    """Serves until SIGTERM."""
    settings = ServiceSettings()

    @contextlib.asynccontextmanager
    async def setup(server: grpc.aio.Server) -> AsyncIterator[Served]:
        async with open_model_process(service="segmentation", model="sam-3", settings=settings, load=load) as process:
            segmentation_pb2_grpc.add_SegmentationServiceServicer_to_server(SegmentationService(process), server)
            yield Served(services=("milimo.v1.SegmentationService",))

    asyncio.run(serve(name="segmentation", address=settings.segmentation_address, settings=settings, setup=setup))


if __name__ == "__main__":
    main()
