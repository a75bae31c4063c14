"""What every process that runs models sets up: data, media, jobs, and the model's residency under a lease."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from milimo_runtime.database import Database
from milimo_runtime.device import DeviceKind, DevicePlan, detect_device, device_plan
from milimo_runtime.job_feed import JobFeed
from milimo_runtime.job_store import JobStore
from milimo_runtime.lease_stream import arbiter_channel
from milimo_runtime.lease_terms import Grade
from milimo_runtime.media import MediaStore
from milimo_runtime.registry import InstalledModel, Registry
from milimo_runtime.residency import Residency

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import grpc.aio

    from milimo_runtime.lease_terms import Grant
    from milimo_runtime.settings import ServiceSettings


class Loaded(Protocol):
    """A loaded model, as far as its residency looks into it."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of its weights."""


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
        load: Callable[[InstalledModel, DevicePlan, Grant], M],
        device: str,
    ) -> None:
        self._name = name
        self._tenant = tenant
        self._registry = registry
        self._channel = channel
        self._loop = loop
        self._load = load
        self._device = device
        self._lock = threading.Lock()
        self._residency: Residency[M] | None = None
        self._weight_bytes = 0

    def installed(self) -> InstalledModel:
        """The model's manifest and folder, with all files. Raises ModelMissing."""
        return self._registry.require(self._name)

    def devices(self) -> DevicePlan:
        """How the model runs on the device at hand. Imports torch when the device is to be detected."""
        kind: DeviceKind = detect_device() if self._device == "auto" else self._device  # type: ignore[assignment]
        plan = device_plan(kind)
        os.environ.update(plan.environment)
        return plan

    def residency(self) -> Residency[M]:
        """The weights and their lease. Raises ModelMissing."""
        with self._lock:
            if self._residency is None:
                installed = self.installed()
                devices = self.devices()
                self._residency = Residency(
                    loop=self._loop,
                    channel=self._channel,
                    tenant=self._tenant,
                    grades=[
                        Grade(name=footprint.name, bytes=footprint.bytes) for footprint in installed.manifest.footprints
                    ],
                    load=lambda grant: self._loaded(installed, devices, grant),
                    measure=lambda: self._measure(devices.kind),
                )
            return self._residency

    def _loaded(self, installed: InstalledModel, devices: DevicePlan, grant: Grant) -> M:
        model = self._load(installed, devices, grant)
        self._weight_bytes = model.weight_bytes
        return model

    def _measure(self, kind: DeviceKind) -> int:
        """Bytes on the device: what torch's allocator holds, on a CPU the weights, which is all that it keeps."""
        torch: Any = sys.modules.get("torch")
        if torch is None:
            return 0
        if kind == "cuda":
            return int(torch.cuda.memory_reserved())
        if kind == "mps":
            return int(torch.mps.driver_allocated_memory())
        residency = self._residency
        return self._weight_bytes if residency is not None and residency.grant is not None else 0

    async def close(self) -> None:
        """Drops the weights and gives the lease back."""
        if self._residency is not None:
            await self._residency.close()
        await self._channel.close()


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
    load: Callable[[InstalledModel, DevicePlan, Grant], M],
) -> AsyncIterator[ModelProcess[M]]:
    """Opens what the process `service` needs to run `model`; closes it again, the lease given back."""
    loop = asyncio.get_running_loop()
    if settings.torch_threads is not None:
        # Read by OpenMP when torch is imported, which happens later.
        os.environ["OMP_NUM_THREADS"] = str(settings.torch_threads)
    database = Database(settings.database)
    await asyncio.to_thread(database.migrate)
    scratch = settings.scratch / f"{service}-{settings.executor_id}"
    # What an earlier process left half-made; its jobs begin their step anew.
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    store = JobStore(database)
    host = ModelHost(
        name=model,
        tenant=service,
        registry=Registry(settings.models, settings.model_family),
        channel=arbiter_channel(settings.arbiter_address),
        loop=loop,
        load=load,
        device=settings.device,
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
