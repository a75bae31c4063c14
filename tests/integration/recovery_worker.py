"""A small worker process: the runtime as it is, a model without weights, and work that waits where a test says so.

Its jobs' prompts are JSON: `steps` names the steps; at `hold` ("one": in the middle of it, "one committed": after its
result was stored) the work waits until the file `go` is in the home folder. In the step `short` memory runs out the
first time, in the step `exhaust` each time.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from milimo.v1 import image_pb2, image_pb2_grpc, worker_pb2_grpc
from milimo_runtime.answered import request_hash
from milimo_runtime.artefacts import commit_file
from milimo_runtime.assets import AssetKind, MediaFacts
from milimo_runtime.job_messages import job_message
from milimo_runtime.jobs import JobKind, NewJob, Subject
from milimo_runtime.model_process import open_model_process
from milimo_runtime.progress import Stage
from milimo_runtime.server import Served, run
from milimo_runtime.settings import ServiceSettings
from milimo_runtime.worker import open_worker
from milimo_runtime.worker_service import WorkerService, watch
from sqlalchemy.exc import OperationalError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STEPS_OF_A_STAGE = 3


@dataclass
class Weights:
    weight_bytes: int

    def modules(self) -> tuple[()]:
        return ()

    def drop_caches(self) -> None:
        """There are none."""


class Film:
    """Makes a file for each step of the plan."""

    def __init__(self, process: Any) -> None:
        self.process = process
        self.home = process.settings.home

    def run(self, run: Any) -> None:
        plan = json.loads(run.job.parameters["prompt"])
        stages = [Stage(name=name, steps=STEPS_OF_A_STAGE, cost=1.0) for name in plan["steps"]]
        for name in plan["steps"]:
            run.step(
                name,
                self.process.model.residency(),
                stages,
                lambda _, observer, n=name: self.work(run, plan, n, observer),
            )

    def work(self, run: Any, plan: dict[str, Any], name: str, observer: Any) -> dict[str, str]:
        with (self.home / "diary").open("a") as diary:
            diary.write(f"{name} {run.job.attempt}\n")
        observer.begin(name, STEPS_OF_A_STAGE)
        observer.advance(1)
        if plan.get("fail") == name:
            raise RuntimeError("the work went wrong")
        if plan.get("away") == name and run.job.attempt == 1:
            raise OperationalError("SELECT 1", None, ConnectionError("the database is away"))
        if plan.get("exhaust") == name or (plan.get("short") == name and self.begun(name) == 1):
            bytearray(1 << 62)
        self.hold(plan, name, observer)
        observer.advance(STEPS_OF_A_STAGE - 1)
        path = self.process.scratch / f"{run.job.id}-{name}"
        path.write_bytes(name.encode())
        asset = commit_file(
            run,
            self.process.media,
            path,
            MediaFacts(kind=AssetKind.IMAGE, media_type="image/png", extension="png"),
            artefact=name,
            name=name,
            parameters={},
            thumbnail=None,
            fraction=(plan["steps"].index(name) + 1) / len(plan["steps"]),
        )
        self.hold(plan, f"{name} committed", observer)
        return {"asset_id": asset.id}

    def begun(self, name: str) -> int:
        """How often the step was begun."""
        return sum(line.split()[0] == name for line in (self.home / "diary").read_text().splitlines())

    def hold(self, plan: dict[str, Any], where: str, observer: Any) -> None:
        if plan.get("hold") != where or (self.home / "go").exists():
            return
        observer.notice("HELD", where)
        while not (self.home / "go").exists():
            observer.advance(0)
            time.sleep(0.005)


class Images(image_pb2_grpc.ImageServiceServicer):
    """Takes jobs in."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker

    async def submit(self, request: Any) -> Any:
        return await self.worker.submit(
            NewJob(
                kind=JobKind.IMAGE,
                subject=Subject(project_id=request.project_id),
                parameters={"prompt": request.image.prompt},
                request_id=request.request_id,
                request_hash=request_hash("image", request.image),
            )
        )

    async def SubmitImage(self, request: Any, context: Any) -> image_pb2.SubmitImageResponse:
        return image_pb2.SubmitImageResponse(job=job_message(await self.submit(request)))

    async def GenerateImage(self, request: Any, context: Any) -> AsyncIterator[Any]:
        job = await self.submit(request)
        async for event in watch(self.worker.store, self.worker.feed, job.id):
            yield event


def main() -> int:
    settings = ServiceSettings()

    @contextlib.asynccontextmanager
    async def setup(server: Any) -> AsyncIterator[Served]:
        async with (
            open_model_process(
                service="image",
                model="film",
                settings=settings,
                load=lambda installed, devices, check: Weights(weight_bytes=installed.manifest.footprints[0].bytes),
            ) as process,
            open_worker(
                process,
                service="image",
                version=int(os.environ["FILM_VERSION"]),
                address=settings.image_address,
                programs={JobKind.IMAGE: Film(process)},
            ) as worker,
        ):
            worker_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerService(worker), server)
            image_pb2_grpc.add_ImageServiceServicer_to_server(Images(worker), server)
            yield Served(services=["milimo.v1.ImageService", "milimo.v1.WorkerService"], drain=worker.drain)

    return run(name="image", address=settings.image_address, settings=settings, setup=setup)


if __name__ == "__main__":
    sys.exit(main())
