"""Those who hold leases in the tests: in this process, and in one of their own."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milimo.v1 import arbiter_pb2 as pb
from milimo_runtime.lease import Lease, acquire
from milimo_runtime.lease_terms import Claim, Grade, Priority, QueuePlace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    Started = Callable[..., AbstractAsyncContextManager[Any]]

TTL_S = 2.0


async def hold(
    arbiter: Any,
    tenant: str,
    size: int,
    *,
    places: list[int] | None = None,
    on_change: Callable[[], None] = lambda: None,
    priority: Priority = Priority.NORMAL,
) -> Lease:
    """A lease in this process."""

    def queued(place: QueuePlace) -> None:
        if places is not None and place.position:
            places.append(place.position)

    return await acquire(
        arbiter.channel,
        Claim(tenant=tenant, grades=(Grade(name="whole", bytes=size),), job_id=f"job of {tenant}", priority=priority),
        on_queued=queued,
        measure=lambda: size,
        on_change=on_change,
    )


@asynccontextmanager
async def holder_process(arbiter: Any, tenant: str, size: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A lease in a process of its own."""
    script = Path(__file__).with_name("lease_holder.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), arbiter.address, tenant, str(size), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def told(process: asyncio.subprocess.Process, what: str) -> Any:
    """Reads on until the process tells `what`."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while True:
            line = json.loads(await process.stdout.readline())
            if what in line:
                return line[what]


def waits_for(tenant: str) -> Callable[[pb.ArbiterStatus], bool]:
    return lambda status: any(waiting.tenant == tenant for waiting in status.queue)


def acquire_message(**changes: Any) -> pb.LeaseRequest:
    values: dict[str, Any] = {"tenant": "image", "footprints": [pb.Footprint(name="g", bytes=10)], **changes}
    return pb.LeaseRequest(acquire=pb.Acquire(**values))
