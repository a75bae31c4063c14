"""The image process: FLUX.2 under a lease. torch is imported by the first job, not by the start."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from milimo.v1 import image_pb2_grpc, worker_pb2_grpc
from milimo_runtime.jobs import JobKind
from milimo_runtime.model_process import open_model_process
from milimo_runtime.server import Served, run
from milimo_runtime.settings import ServiceSettings
from milimo_runtime.worker import open_worker
from milimo_runtime.worker_service import WorkerService

from milimo_image.program import ImageProgram, load
from milimo_image.segmentation import open_segmentation
from milimo_image.service import ImageService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

SERVICES = ("milimo.v1.ImageService", "milimo.v1.WorkerService")
KINDS = (JobKind.IMAGE, JobKind.INPAINT, JobKind.ELEMENT_VISUAL)
# Raised when the order of a job's steps changes: open jobs of the version before then fail and can be retried.
WORKFLOW_VERSION = 1


def main() -> int:
    """Serves until SIGTERM; returns the exit status."""
    settings = ServiceSettings()

    @contextlib.asynccontextmanager
    async def setup(server: grpc.aio.Server) -> AsyncIterator[Served]:
        async with (
            open_segmentation(settings.segmentation_address) as segmentation,
            open_model_process(service="image", model=settings.image_model, settings=settings, load=load) as process,
            open_worker(
                process,
                service="image",
                version=WORKFLOW_VERSION,
                address=settings.image_address,
                programs=dict.fromkeys(KINDS, ImageProgram(process, segmentation)),
            ) as worker,
        ):
            image_pb2_grpc.add_ImageServiceServicer_to_server(ImageService(process, worker), server)
            worker_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerService(worker), server)
            yield Served(services=SERVICES, drain=worker.drain)

    return run(name="image", address=settings.image_address, settings=settings, setup=setup)


if __name__ == "__main__":
    sys.exit(main())
