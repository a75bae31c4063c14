"""How often the arbiter reads its devices and tells its onlookers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

import pytest
from milimo.v1 import arbiter_pb2 as pb
from milimo_arbiter.events import Acquire, Heartbeat, Release, StreamEnded
from milimo_arbiter.loop import Arbiter, sample_pause
from milimo_arbiter.repeats import Repeats
from milimo_arbiter.service import MemoryArbiterService
from milimo_arbiter.state import Device, Footprint, Lease, Policy, Quarantine, Request, Sample, State, Waiter
from milimo_arbiter.store import LeaseStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOTAL = 1_000
POLICY = Policy(settle_s=5.0)


def request(tenant: str, size: int) -> Request:
    return Request(tenant=tenant, footprints=(Footprint(name="g", bytes=size),), resume_token=tenant)


WAITER = Waiter(stream=9, request=request("image", 10), since=0.0, arrival=0)
HELD = Lease(
    lease_id="a-0-1",
    tenant="video",
    device="a:0",
    footprint="g",
    bytes=500,
    load_seconds=0.0,
    fencing_token=1,
    resume_token="video",
    process=None,
    min_hold_s=0.0,
    granted_at=0.0,
    expires_at=100.0,
    last_used=0.0,
    stream=1,
    confirmed=True,
    turn=None,
)
RELEASED = replace(HELD, stream=None, quarantine=Quarantine(since=10.0, reason="", released=True))
LOST = replace(HELD, stream=None, quarantine=Quarantine(since=10.0, reason="", released=False))

# Lease, whether somebody waits, time, and the shortest and the longest pause that is right.
PAUSES = {
    "nothing happens": (None, False, 10.0, 1.0, 1.0),
    "a holder works": (HELD, False, 10.0, 1.0, 1.0),
    "somebody waits": (HELD, True, 10.0, 0.25, 0.5),
    "released memory is on its way back": (RELEASED, False, 10.0, 0.001, 0.005),
    "somebody waits for it": (RELEASED, True, 14.9, 0.001, 0.005),
    "it does not come": (RELEASED, True, 15.0, 0.25, 0.5),
    "its holder is lost": (LOST, True, 10.0, 0.25, 0.5),
    "its holder is lost and nobody waits": (LOST, False, 10.0, 0.25, 0.5),
}


@pytest.mark.parametrize(("lease", "waits", "now", "shortest", "longest"), PAUSES.values(), ids=PAUSES)
def test_devices_are_read_as_often_as_it_helps(
    lease: Lease | None, waits: bool, now: float, shortest: float, longest: float
) -> None:
    state = State(
        policy=POLICY,
        devices={"a:0": Device(id="a:0", name="", total=TOTAL, reserve=0, driver=True)},
        leases={} if lease is None else {lease.lease_id: lease},
        waiters={9: WAITER} if waits else {},
    )
    assert shortest <= sample_pause(state, now) <= longest


class Readings:
    """A driver that shows `used` bytes, a little more with each reading, and remembers when it was read."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.used = 0
        self.read = asyncio.Condition()
        self._loop = asyncio.get_running_loop()

    def sample(self, device_id: str, at: float) -> Sample:
        self.at.append(at)
        asyncio.run_coroutine_threadsafe(self._tell(), self._loop)
        return Sample(at=at, used=self.used + len(self.at) % 7)

    async def _tell(self) -> None:
        async with self.read:
            self.read.notify_all()

    async def until(self, readings: int) -> None:
        async with asyncio.timeout(20), self.read:
            await self.read.wait_for(lambda: len(self.at) >= readings)

    def close(self) -> None:
        """There is nothing to let go of."""


@contextlib.asynccontextmanager
async def running(tmp_path: Path, driver: Readings | None = None) -> AsyncIterator[Arbiter]:
    store = LeaseStore(tmp_path / "arbiter.sqlite")
    store.load(now=time.monotonic(), wall=time.time(), boot_id="boot")
    device = Device(id="a:0", name="", total=TOTAL, reserve=0, driver=driver is not None)
    arbiter = Arbiter(
        state=State(policy=POLICY, devices={"a:0": device}),
        store=store,
        clock=time.monotonic,
        wall=time.time,
        driver=driver,
    )
    task = asyncio.create_task(arbiter.run())
    try:
        yield arbiter
    finally:
        task.cancel()
        await asyncio.wait([task])
        store.close()


async def test_a_queue_alone_does_not_have_the_devices_read_all_the_time(tmp_path: Path) -> None:
    driver = Readings()
    async with running(tmp_path, driver) as arbiter:
        await arbiter.apply(Acquire(stream=1, request=request("video", 900)))
        await arbiter.apply(Heartbeat(stream=1, sequence=1, used=0))
        await arbiter.apply(Acquire(stream=2, request=request("image", 900)))
        await driver.until(2)
        # Whatever else happens meanwhile changes nothing about it.
        done = asyncio.create_task(driver.until(4))
        for sequence in count(2):
            await arbiter.apply(Heartbeat(stream=1, sequence=sequence, used=sequence))
            await arbiter.apply(Acquire(stream=2 + sequence, request=request("image", 900)))
            await arbiter.apply(StreamEnded(stream=2 + sequence))
            if done.done():
                break
            await asyncio.wait([done], timeout=0.01)
        pauses = [later - earlier for earlier, later in pairwise(driver.at[1:])]
        assert len(pauses) >= 2
        assert min(pauses) >= 0.25


async def test_what_is_released_is_read_at_once_and_the_next_in_the_queue_served(tmp_path: Path) -> None:
    driver = Readings()
    driver.used = 900
    async with running(tmp_path, driver) as arbiter:
        await arbiter.apply(Acquire(stream=1, request=request("video", 900)))
        await arbiter.apply(Heartbeat(stream=1, sequence=1, used=900))
        await arbiter.apply(Acquire(stream=2, request=request("image", 900)))
        await driver.until(2)
        driver.used = 0
        await arbiter.apply(Release(stream=1))
        released_at = time.monotonic()
        async with asyncio.timeout(10):
            while not any(lease.tenant == "image" for lease in arbiter.state.leases.values()):
                await arbiter.changed(arbiter.version)
        assert time.monotonic() - released_at < 0.2
        assert any(at >= released_at for at in driver.at)


async def test_onlookers_hear_the_latest_at_most_ten_times_a_second(tmp_path: Path) -> None:
    heard: list[tuple[float, int]] = []

    async def look(service: MemoryArbiterService, last: int) -> None:
        context: Any = None
        async with contextlib.aclosing(service.WatchStatus(pb.WatchStatusRequest(), context)) as updates:  # type: ignore[type-var]
            async for update in updates:
                heard.append((time.monotonic(), sum(lease.measured_bytes for lease in update.status.leases)))
                if heard[-1][1] == last:
                    return

    async with running(tmp_path) as arbiter:
        await arbiter.apply(Acquire(stream=1, request=request("video", 900)))
        looking = asyncio.create_task(look(MemoryArbiterService(arbiter, Repeats({})), last=800))
        for used in range(1, 801):
            await arbiter.apply(Heartbeat(stream=1, sequence=used, used=used))
        async with asyncio.timeout(10):
            await looking
    times = [at for at, _ in heard]
    assert [used for _, used in heard] == sorted({used for _, used in heard}), "each shows what is new"
    assert min(later - earlier for earlier, later in pairwise(times)) >= 0.1
    assert len(heard) < 100
