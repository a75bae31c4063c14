"""The arbiter's leases: a real process with its durable record, beside an etcd lock where etcd is installed."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import grpc.aio
from etcd import find_etcd, running_etcd
from milimo.v1 import arbiter_pb2, arbiter_pb2_grpc
from milimo_runtime.lease import Lease, acquire
from milimo_runtime.lease_stream import arbiter_channel
from milimo_runtime.lease_terms import Claim, Grade, QueuePlace
from rows import Beside, Row, measured, percentile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from etcd import Etcd
    from session import Session

NAMES: Final = ("lease_acquire_p50_ms", "lease_acquire_p99_ms", "lease_grants_per_s", "lease_handover_ms")
_BUDGET: Final = 1_000
_TENANTS: Final = 32
# Of each of the session's runs.
_ACQUISITIONS: Final = 100
_SECONDS: Final = 2.0
_HANDOVERS: Final = 20
_ETCD: Final = "a lock of etcd, single node, its session open already"


def measure(session: Session) -> Mapping[str, Row]:
    """In turns with etcd, so that both meet the same machine."""
    mesh = session.plan(only=("arbiter",), MILIMO_ARBITER_BUDGET_BYTES=str(_BUDGET))
    with session.running(mesh) as (running, _):
        return asyncio.run(_measure(session, running.mesh.process("arbiter").address))


async def _measure(session: Session, address: str) -> Mapping[str, Row]:
    acquired: list[float] = []
    held: list[float] = []
    granted: list[float] = []
    handed: list[float] = []
    locked: list[float] = []
    locks: list[float] = []
    async with contextlib.AsyncExitStack() as stack:
        channel = await stack.enter_async_context(arbiter_channel(address))
        etcd: Etcd | None = None
        binary = find_etcd()
        if binary is None:
            print("etcd is not installed: nothing stands beside the leases", file=sys.stderr)
        else:
            etcd = await stack.enter_async_context(running_etcd(binary, session.scratch("etcd")))
        for _ in range(session.runs):
            for _ in range(_ACQUISITIONS):
                granted_ms, held_ms = await _take_and_return(channel, "alone")
                acquired.append(granted_ms)
                held.append(held_ms)
            if etcd is not None:
                locked += [await etcd.lock_ms("alone") for _ in range(_ACQUISITIONS)]
            granted.append(await _rate(lambda number: _take_and_return(channel, f"tenant-{number}")))
            if etcd is not None:
                locks.append(await _rate(etcd.lock_and_unlock))
            handed += [await _handover(channel) for _ in range(_HANDOVERS)]
    if not locked:
        return {
            "lease_acquire_p50_ms": measured("lease_acquire_p50_ms", acquired),
            "lease_acquire_p99_ms": measured("lease_acquire_p99_ms", acquired, value=percentile(acquired, 0.99)),
            "lease_grants_per_s": measured("lease_grants_per_s", granted),
            "lease_handover_ms": measured("lease_handover_ms", handed),
        }
    what = f"{_ETCD}; ours may be used after {median(held):.2f} ms, when its first heartbeat is answered"
    return {
        "lease_acquire_p50_ms": measured(
            "lease_acquire_p50_ms", acquired, beside=Beside(what=what, value=median(locked))
        ),
        "lease_acquire_p99_ms": measured(
            "lease_acquire_p99_ms",
            acquired,
            value=percentile(acquired, 0.99),
            beside=Beside(what=_ETCD, value=percentile(locked, 0.99)),
        ),
        "lease_grants_per_s": measured(
            "lease_grants_per_s", granted, beside=Beside(what=f"{_ETCD}, 32 at once", value=median(locks))
        ),
        "lease_handover_ms": measured("lease_handover_ms", handed),
    }


async def _lease(
    channel: grpc.aio.Channel, tenant: str, size: int, on_queued: Callable[[QueuePlace], None] = lambda place: None
) -> Lease:
    claim = Claim(tenant=tenant, grades=(Grade(name="whole", bytes=size),), job_id=f"job of {tenant}")
    return await acquire(channel, claim, on_queued=on_queued, measure=lambda: size, on_change=lambda: None)


async def _take_and_return(channel: grpc.aio.Channel, tenant: str) -> tuple[float, float]:
    """One lease in the plain messages of its stream; milliseconds until it is granted, which is when it is on the
    disk, and until its holder's first heartbeat is answered, from when on it may be used."""
    begin = time.monotonic()
    call = arbiter_pb2_grpc.MemoryArbiterStub(channel).Lease()
    acquire_it = arbiter_pb2.Acquire(tenant=tenant, footprints=[arbiter_pb2.Footprint(name="whole", bytes=1)])
    await _say(call, arbiter_pb2.LeaseRequest(acquire=acquire_it), "granted")
    granted = time.monotonic()
    await _say(call, arbiter_pb2.LeaseRequest(heartbeat=arbiter_pb2.Heartbeat(sequence=1)), "renewed")
    held = time.monotonic()
    await _say(call, arbiter_pb2.LeaseRequest(release=arbiter_pb2.Release()), "released")
    # The end of one stream is no part of the next one's beginning.
    await call.read()
    return (granted - begin) * 1e3, (held - begin) * 1e3


async def _say(call: Any, message: arbiter_pb2.LeaseRequest, answer: str) -> None:
    """Sends a message and waits for the answer of that kind."""
    await call.write(message)
    while True:
        reply = await call.read()
        if reply is grpc.aio.EOF:
            raise RuntimeError(f"the arbiter ended the stream before it was {answer}")
        if reply.HasField(answer):
            return


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
