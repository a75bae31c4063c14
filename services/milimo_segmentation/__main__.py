"""The segmentation process: SAM 3 under a lease. torch is imported by the first call, not by the start."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from milimo.v1 import segmentation_pb2_grpc
from milimo_runtime.model_process import open_model_process
from milimo_runtime.server import Served, run
from milimo_runtime.settings import ServiceSettings

from milimo_segmentation.calls import open_calls
from milimo_segmentation.model import load
from milimo_segmentation.service import SegmentationService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio


def main() -> int:
    """Serves until SIGTERM; returns the exit status."""
    settings = ServiceSettings()

    @contextlib.asynccontextmanager
    async def setup(server: grpc.aio.Server) -> AsyncIterator[Served]:
        # The threads are waited for last: those that wait in a queue end when the process gives its lease back.
        async with (
            open_calls() as calls,
            open_model_process(service="segmentation", model="sam-3", settings=settings, load=load) as process,
        ):
            service = SegmentationService(process, calls)
            segmentation_pb2_grpc.add_SegmentationServiceServicer_to_server(service, server)
            yield Served(services=("milimo.v1.SegmentationService",))

    return run(name="segmentation", address=settings.segmentation_address, settings=settings, setup=setup)


if __name__ == "__main__":
    sys.exit(main())
