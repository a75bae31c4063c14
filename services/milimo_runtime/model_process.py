"""What every process that runs models sets up: data, media, jobs, and the model's residency under a lease."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from milimo_runtime.database import Database
from milimo_runtime.device import (
    ELEMENT_TYPES,
    DevicePlan,
    GradeUnknown,
    detect_device,
    device_kind,
    device_plan,
    grades_on,
    granted_plan,
    runs_on,
)
from milimo_runtime.job_feed import JobFeed
from milimo_runtime.job_store import JobStore
from milimo_runtime.lease_stream import arbiter_channel
from milimo_runtime.lease_terms import Grade, Workload
from milimo_runtime.media import MediaStore
from milimo_runtime.registry import InstalledModel, Registry
from milimo_runtime.residency import Residency
from milimo_runtime.turn_memory import TurnMemory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable
    from pathlib import Path

    import grpc.aio
    import torch

    from milimo_runtime.device import DeviceKind
    from milimo_runtime.lease_terms import Grant
    from milimo_runtime.settings import ParkWeights, ServiceSettings

log = logging.getLogger(__name__)


class Loaded(Protocol):
    """A loaded model, as far as its residency looks into it."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of its weights."""

    def modules(self) -> Iterable[torch.nn.Module]:
        """The modules that hold the weights, each once; none for a model that cannot be parked."""

    def drop_caches(self) -> None:
        """Forgets what is kept beside the weights and can be made again."""


M = TypeVar("M", bound=Loaded)


class ModelHost(Generic[M]):
    """The process's model: where it is installed, and its residency, which is set up when it is first needed.

    The process starts, and says what is missing, also when its model is not installed.
    """

    def __init__(
        self,
        *,
        name: str,
        tenant: str,
        registry: Registry,
        channel: grpc.aio.Channel,
        loop: asyncio.AbstractEventLoop,
        load: Callable[[InstalledModel, DevicePlan, Callable[[], None]], M],
        device: Literal["auto"] | DeviceKind,
        drain_s: float,
        park_weights: ParkWeights = "auto",
        grades: Collection[str] = ELEMENT_TYPES,
    ) -> None:
        """Nothing is asked for or loaded yet.

        Args:
            name: of the model, in the registry.
            tenant: who asks for memory, such as "video".
            registry: knows the installed models.
            channel: to the arbiter. The host closes it.
            loop: the running loop that owns `channel`.
            load: builds the model as a plan says, in a job's thread. Calls its last argument between the model's
                parts, and lets pass what that raises: the job was cancelled, or the lease is lost.
            device: where models may run.
            drain_s: seconds that a turn may still take when the host is closed.
            park_weights: where weights that leave the device may be parked in host memory.
            grades: the names of footprints that `load` knows.
        """
        self._name = name
        self._tenant = tenant
        self._registry = registry
        self._channel = channel
        self._loop = loop
        self._load = load
        self._device = device
        self._drain_s = drain_s
        self._park_weights = park_weights
        self._grades = grades
        self._lock = threading.Lock()
        self._residency: Residency[M] | None = None
        # How the model runs, or ran last.
        self._plan: DevicePlan | None = None
        self._weight_bytes = 0

    def installed(self) -> InstalledModel:
        """The model's manifest and folder, with all files. Raises ModelMissing."""
        return self._registry.require(self._name)

    def kind(self) -> DeviceKind:
        """The kind of device that the model runs on. Imports torch when it is to be detected."""
        return detect_device() if self._device == "auto" else self._device

    def residency(self) -> Residency[M]:
        """The weights and their lease. Raises ModelMissing, GradeUnknown."""
        with self._lock:
            if self._residency is None:
                installed = self.installed()
                kind = self.kind()
                os.environ.update(device_plan(kind).environment)
                self._residency = Residency(
                    loop=self._loop,
                    channel=self._channel,
                    tenant=self._tenant,
                    grades=grades_of(installed, kind, self._grades),
                    load=lambda grant, check: self._loaded(installed, grant, check),
                    memory=TurnMemory(self._measure, begin_peak=self._begin_peak, peak=self._peak),
                    size_of=lambda model: model.weight_bytes,
                    modules_of=lambda model: model.modules(),
                    drop_caches=lambda model: model.drop_caches(),
                    parks=lambda grant: may_park(self._park_weights, grant.device),
                )
            return self._residency

    def _loaded(self, installed: InstalledModel, grant: Grant, check: Callable[[], None]) -> M:
        self._weight_bytes = 0
        self._plan = granted_plan(grant.device, grant.grade, model=installed.full_name, grades=self._grades)
        model = self._load(installed, self._plan, check)
        self._weight_bytes = model.weight_bytes
        return model

    def _measure(self) -> int:
        """Bytes on the device: what torch's allocator holds, on a CPU the weights, which is all that it keeps."""
        torch: Any = sys.modules.get("torch")
        plan = self._plan
        if torch is None or plan is None:
            return 0
        if plan.kind == "cuda":
            return int(torch.cuda.memory_reserved(plan.default.device))
        if plan.kind == "mps":
            return int(torch.mps.driver_allocated_memory())
        residency = self._residency
        return self._weight_bytes if residency is not None and residency.grant is not None else 0

    def _begin_peak(self) -> None:
        torch: Any = sys.modules.get("torch")
        if torch is not None and self._plan is not None and self._plan.kind == "cuda":
            device = self._plan.default.device
            # What an earlier, larger turn has left in the allocator is none of this one's.
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)

    def _peak(self) -> int | None:
        """The most that torch's allocator held since the turn began; only that of CUDA tells."""
        torch: Any = sys.modules.get("torch")
        if torch is None or self._plan is None or self._plan.kind != "cuda":
            return None
        return int(torch.cuda.max_memory_reserved(self._plan.default.device))

    def workload(self, *, width: int, height: int, frames: int = 1) -> Workload:
        """What a turn on the model computes: sizes in pixels."""
        return Workload(model=self.installed().full_name, width=width, height=height, frames=frames)

    async def close(self) -> None:
        """Drops the weights and gives the lease back; a turn in progress has the drain's time to end."""
        if self._residency is not None:
            await self._residency.close(self._drain_s)
        await self._channel.close()


def may_park(park_weights: ParkWeights, device: str) -> bool:
    """Whether weights that leave a device may wait in host memory: "auto" is where that is memory of another kind."""
    return park_weights == "always" or (park_weights == "auto" and device_kind(device) == "cuda")


def grades_of(installed: InstalledModel, kind: DeviceKind, grades: Collection[str] = ELEMENT_TYPES) -> list[Grade]:
    """The ways to run a model on devices of one kind: those of its footprints that can be loaded, of `grades`.

    Raises GradeUnknown when there are none.
    """
    footprints = installed.manifest.footprints
    unknown = [footprint.name for footprint in footprints if not runs_on(kind, footprint.name, grades)]
    if len(unknown) == len(footprints):
        raise GradeUnknown(installed.full_name, *unknown, known=grades_on(kind, grades))
    if unknown:
        log.warning(
            "footprints are left out that cannot be loaded",
            extra={"action": "grades_left_out", "model": installed.full_name, "footprints": unknown},
        )
    return [
        Grade(name=footprint.name, bytes=footprint.bytes, devices=(kind,))
        for footprint in footprints
        if footprint.name not in unknown
    ]


@dataclass(frozen=True, kw_only=True)
class ModelProcess(Generic[M]):
    """The means of a process that runs one model."""

    settings: ServiceSettings
    database: Database
    media: MediaStore
    store: JobStore
    feed: JobFeed
    model: ModelHost[M]
    scratch: Path


@contextlib.asynccontextmanager
async def open_model_process(
    *,
    service: str,
    model: str,
    settings: ServiceSettings,
    load: Callable[[InstalledModel, DevicePlan, Callable[[], None]], M],
    grades: Collection[str] = ELEMENT_TYPES,
) -> AsyncIterator[ModelProcess[M]]:
    """Opens what the process `service` needs to run `model`; closes it again, the lease given back."""
    loop = asyncio.get_running_loop()
    # As the arbiter numbers devices. Read by CUDA when it first looks for some.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    # Read by tqdm when it is imported: the libraries' bars are no lines of a log.
    os.environ["TQDM_DISABLE"] = "1"
    if settings.torch_threads is not None:
        # Read by OpenMP when torch is imported, which happens later.
        os.environ["OMP_NUM_THREADS"] = str(settings.torch_threads)
    database = Database(settings.database)
    await asyncio.to_thread(database.migrate)
    scratch = settings.scratch / f"{service}-{settings.executor_id}"
    # What an earlier process left half-made; its jobs begin their step anew.
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    store = JobStore(database, open_jobs=settings.job_queue_bound)
    host = ModelHost(
        name=model,
        tenant=service,
        registry=Registry(settings.models, settings.model_family),
        channel=arbiter_channel(settings.arbiter_address),
        loop=loop,
        load=load,
        device=settings.device,
        drain_s=settings.drain_seconds,
        park_weights=settings.park_weights,
        grades=grades,
    )
    try:
        yield ModelProcess(
            settings=settings,
            database=database,
            media=MediaStore(settings.media),
            store=store,
            feed=JobFeed(store, loop),
            model=host,
            scratch=scratch,
        )
    finally:
        await host.close()
        database.close()
        shutil.rmtree(scratch, ignore_errors=True)
