"""The video process: LTX-2 under a lease. torch is imported by the first job, not by the start."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from milimo.v1 import text_pb2_grpc, video_pb2_grpc, worker_pb2_grpc
from milimo_runtime.calls import Calls, closing_calls
from milimo_runtime.jobs import JobKind
from milimo_runtime.model_process import open_model_process
from milimo_runtime.server import Served, run
from milimo_runtime.settings import ServiceSettings
from milimo_runtime.worker import open_worker
from milimo_runtime.worker_service import WorkerService

from milimo_video.loaded import GRADES, load
from milimo_video.program import VideoProgram
from milimo_video.service import VideoService
from milimo_video.still import Stills
from milimo_video.text_service import TEXT_CALLS, TextGenerationService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

SERVICES = ("milimo.v1.VideoService", "milimo.v1.TextGenerationService", "milimo.v1.WorkerService")
# Raised when the order of a job's steps changes: open jobs of the version before then fail and can be retried.
WORKFLOW_VERSION = 1


def main() -> int:
    """Serves until SIGTERM; returns the exit status."""
    settings = ServiceSettings()

    @contextlib.asynccontextmanager
    async def setup(server: grpc.aio.Server) -> AsyncIterator[Served]:
        # The threads are waited for last: those that wait in a queue end when the process gives its lease back.
        async with (
            closing_calls(Calls(calls=TEXT_CALLS, what="texts")) as calls,
            open_model_process(service="video", model="ltx-2", settings=settings, load=load, grades=GRADES) as process,
            open_worker(
                process,
                service="video",
                version=WORKFLOW_VERSION,
                address=settings.video_address,
                programs={JobKind.VIDEO: VideoProgram(process)},
            ) as worker,
            contextlib.aclosing(Stills(settings.image_address)) as stills,
        ):
            video_pb2_grpc.add_VideoServiceServicer_to_server(VideoService(process, worker, stills), server)
            text_pb2_grpc.add_TextGenerationServiceServicer_to_server(TextGenerationService(process, calls), server)
            worker_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerService(worker), server)
            yield Served(services=SERVICES, drain=worker.drain)

    return run(name="video", address=settings.video_address, settings=settings, setup=setup)


if __name__ == "__main__":
    sys.exit(main())
