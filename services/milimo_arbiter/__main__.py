"""Starts the arbiter: `python -m milimo_arbiter`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from milimo.v1 import arbiter_pb2, arbiter_pb2_grpc
from milimo_runtime.server import Served, serve

from milimo_arbiter.devices import MemoryMisconfigured, find_devices, parking_budget
from milimo_arbiter.loop import Arbiter
from milimo_arbiter.metrics import export_metrics
from milimo_arbiter.repeats import Repeats
from milimo_arbiter.service import MemoryArbiterService
from milimo_arbiter.settings import ArbiterSettings
from milimo_arbiter.state import External, restored
from milimo_arbiter.store import LeaseStore, StoreInUse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    import grpc.aio

    from milimo_arbiter.external import Program

log = logging.getLogger(__name__)


def boot_id() -> str:
    """Names this boot of the host; on platforms that do not, its time of boot does."""
    path = Path("/proc/sys/kernel/random/boot_id")
    if path.exists():
        return path.read_text().strip()
    import psutil

    return str(int(psutil.boot_time()))


def _programs(settings: ArbiterSettings, devices: Iterable[str]) -> tuple[Program, ...]:
    """Those that are no tenants; without them no HTTP client is loaded."""
    if settings.arbiter_ollama_url is None:
        return ()
    from milimo_arbiter.external import find_programs

    return find_programs(settings, devices)


@contextlib.asynccontextmanager
async def arbiter_of(settings: ArbiterSettings) -> AsyncIterator[tuple[Arbiter, Repeats]]:
    """The arbiter with its record and its devices, and what it has answered; it runs until the block is left.

    Raises:
        MemoryMisconfigured: when there is no such memory to lend.
        StoreInUse: when another arbiter has the record open.
    """
    found = find_devices(settings)
    programs = _programs(settings, found.devices)
    store = LeaseStore(settings.arbiter_store)
    now = time.monotonic()
    record = store.load(now=now, wall=time.time(), boot_id=boot_id())
    leases = {key: lease for key, lease in record.leases.items() if lease.device in found.devices}
    state = restored(
        settings.policy,
        found.devices,
        leases,
        record.tokens,
        now,
        parked=record.parked,
        peaks=record.peaks,
        parking_budget=parking_budget(settings, found.devices.values()),
    )
    for program in programs:
        seen = await program.look()
        first = External(
            name=program.name, device=program.device, bytes=seen.bytes, busy=seen.busy, problem=seen.problem
        )
        state = replace(state, externals={**state.externals, program.name: first})
    arbiter = Arbiter(
        state=state, store=store, clock=time.monotonic, wall=time.time, driver=found.driver, programs=programs
    )
    running = asyncio.create_task(arbiter.run(), name="arbiter")
    # A defect in the rules must not leave a process behind that answers and decides nothing.
    running.add_done_callback(lambda task: None if task.cancelled() else signal.raise_signal(signal.SIGTERM))
    try:
        yield arbiter, Repeats(record.answers)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        store.close()
        for program in programs:
            await program.close()
        if found.driver is not None:
            found.driver.close()


def main() -> int:
    """Serves until SIGTERM; returns the exit status."""
    settings = ArbiterSettings()

    @contextlib.asynccontextmanager
    async def setup(server: grpc.aio.Server) -> AsyncIterator[Served]:
        async with arbiter_of(settings) as (arbiter, repeats):
            arbiter_pb2_grpc.add_MemoryArbiterServicer_to_server(MemoryArbiterService(arbiter, repeats), server)
            # What is here now stays. Looking at it again and again took the collector an eighth of all time.
            gc.collect()
            gc.freeze()
            export_metrics(arbiter)
            yield Served(services=[arbiter_pb2.DESCRIPTOR.services_by_name["MemoryArbiter"].full_name])

    try:
        asyncio.run(serve(name="arbiter", address=settings.arbiter_address, settings=settings, setup=setup))
    except (MemoryMisconfigured, StoreInUse, OSError) as error:
        log.error("the arbiter cannot start: %s", error, extra={"action": "start_failed"})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
