"""The arbiter's leases: a real process with its durable record, beside an etcd lock where etcd is installed."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Final

import grpc.aio
from etcd import find_etcd, running_etcd
from milimo_runtime.lease import Lease, acquire
from milimo_runtime.lease_stream import arbiter_channel
from milimo_runtime.lease_terms import Claim, Grade, QueuePlace
from rows import Beside, Row, measured, percentile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from etcd import Etcd
    from session import Session

NAMES: Final = (
    "lease_acquire_p50_ms",
    "lease_acquire_p99_ms",
    "lease_grants_per_s",
    "lease_handover_ms",
    "lease_waiters_512_served_s",
    "lease_waiters_512_handover_ms",
)
_BUDGET: Final = 1_000
_TENANTS: Final = 32
# Of each of the session's runs.
_ACQUISITIONS: Final = 100
_SECONDS: Final = 2.0
_HANDOVERS: Final = 20
_WAITERS: Final = 512
_WAITING_TENANTS: Final = 8
_ETCD: Final = "a lock of etcd, single node, its session open already"


def measure(session: Session) -> Mapping[str, Row]:
    """In turns with etcd, so that both meet the same machine."""
    mesh = session.plan(only=("arbiter",), MILIMO_ARBITER_BUDGET_BYTES=str(_BUDGET))
    with session.running(mesh) as (running, _):
        return asyncio.run(_measure(session, running.mesh.process("arbiter").address))


async def _measure(session: Session, address: str) -> Mapping[str, Row]:
    acquired: list[float] = []
    granted: list[float] = []
    handed: list[float] = []
    locked: list[float] = []
    locks: list[float] = []
    served: list[float] = []
    async with contextlib.AsyncExitStack() as stack:
        channel = await stack.enter_async_context(arbiter_channel(address))
        etcd: Etcd | None = None
        binary = find_etcd()
        if binary is None:
            print("etcd is not installed: nothing stands beside the leases", file=sys.stderr)
        else:
            etcd = await stack.enter_async_context(running_etcd(binary, session.scratch("etcd")))
        for _ in range(session.runs):
            acquired += [await _take_and_return(channel, "alone") for _ in range(_ACQUISITIONS)]
            if etcd is not None:
                locked += [await etcd.lock_ms("alone") for _ in range(_ACQUISITIONS)]
            granted.append(await _rate(lambda number: _take_and_return(channel, f"tenant-{number}")))
            if etcd is not None:
                locks.append(await _rate(etcd.lock_and_unlock))
            handed += [await _handover(channel) for _ in range(_HANDOVERS)]
            served.append(await _serve_many(channel))

    def beside(what: str, values: list[float], value: Callable[[list[float]], float] = median) -> Beside | None:
        return Beside(what=what, value=value(values)) if values else None

    def slowest(values: list[float]) -> float:
        return percentile(values, 0.99)

    handovers = [1e3 * seconds / _WAITERS for seconds in served]
    return {
        "lease_acquire_p50_ms": measured("lease_acquire_p50_ms", acquired, beside=beside(_ETCD, locked)),
        "lease_acquire_p99_ms": measured(
            "lease_acquire_p99_ms", acquired, value=slowest(acquired), beside=beside(_ETCD, locked, slowest)
        ),
        "lease_grants_per_s": measured("lease_grants_per_s", granted, beside=beside(f"{_ETCD}, 32 at once", locks)),
        "lease_handover_ms": measured("lease_handover_ms", handed),
        "lease_waiters_512_served_s": measured("lease_waiters_512_served_s", served),
        "lease_waiters_512_handover_ms": measured("lease_waiters_512_handover_ms", handovers),
    }


async def _lease(
    channel: grpc.aio.Channel, tenant: str, size: int, on_queued: Callable[[QueuePlace], None] = lambda place: None
) -> Lease:
    claim = Claim(tenant=tenant, grades=(Grade(name="whole", bytes=size),), job_id=f"job of {tenant}")
    return await acquire(channel, claim, on_queued=on_queued, measure=lambda: size, on_change=lambda: None)


async def _take_and_return(channel: grpc.aio.Channel, tenant: str) -> float:
    """One lease, as workers take it; milliseconds until it may be used: it is recorded then."""
    begin = time.monotonic()
    lease = await _lease(channel, tenant, 1)
    took = (time.monotonic() - begin) * 1e3
    await lease.release()
    return took


async def _rate(once: Callable[[int], Awaitable[object]]) -> float:
    """How often all tenants together do it per second."""
    done = 0
    begin = time.monotonic()

    async def tenant(number: int) -> None:
        nonlocal done
        while time.monotonic() - begin < _SECONDS:
            await once(number)
            done += 1

    await asyncio.gather(*(tenant(number) for number in range(_TENANTS)))
    return done / (time.monotonic() - begin)


async def _handover(channel: grpc.aio.Channel) -> float:
    """Milliseconds from the release of what somebody waits for to that one's lease, confirmed."""
    holder = await _lease(channel, "holder", _BUDGET)
    queued = asyncio.Event()
    waiting = asyncio.create_task(
        _lease(channel, "waiter", _BUDGET, lambda place: queued.set() if place.position else None)
    )
    await queued.wait()
    begin = time.monotonic()
    releasing = asyncio.create_task(holder.release())
    waiter = await waiting
    took = (time.monotonic() - begin) * 1e3
    await releasing
    await waiter.release()
    return took


async def _serve_many(channel: grpc.aio.Channel) -> float:
    """Seconds from the release of what a full queue waits for until each of them has had all of it, one by one."""
    holder = await _lease(channel, "holder", _BUDGET)
    waiting: set[int] = set()
    full = asyncio.Event()

    async def waiter(number: int) -> None:
        def heard(place: QueuePlace) -> None:
            waiting.update([number] if place.position else [])
            if len(waiting) == _WAITERS:
                full.set()

        lease = await _lease(channel, f"waiter-{number % _WAITING_TENANTS}", _BUDGET, heard)
        await lease.release()

    waiters = [asyncio.create_task(waiter(number)) for number in range(_WAITERS)]
    await full.wait()
    begin = time.monotonic()
    await holder.release()
    await asyncio.gather(*waiters)
    return time.monotonic() - begin
