"""Turns that are measured: what the arbiter learns from them, and what a tenant gives back without dropping weights."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import torch
from milimo.v1 import arbiter_pb2 as pb
from milimo_runtime.lease_terms import Grade, Workload
from milimo_runtime.residency import Residency
from milimo_runtime.turn_memory import TurnMemory

from .networks import Network, Networks
from .weights import Loader, has, nothing_held, residency

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Started = Callable[..., AbstractAsyncContextManager[Any]]

SMALL = Workload(model="film", width=64, height=64, frames=9)
LARGE = Workload(model="film", width=128, height=64, frames=9)
# Nobody is to lose a lease here, however busy the machine is.
PATIENT_TTL_S = 30.0
# What turns take at most. The grade is estimated to take 700.
PEAKS = {SMALL: 400, LARGE: 650}


class Measured:
    """A tenant whose device says what turns take."""

    def __init__(self, arbiter: Any) -> None:
        self.load = Networks()
        self.used = 300
        self.computes: Workload | None = None
        self.tenant: Residency[Network] = Residency(
            loop=asyncio.get_running_loop(),
            channel=arbiter.channel,
            tenant="video",
            grades=[Grade(name="whole", bytes=700)],
            load=self.load,
            memory=TurnMemory(lambda: self.used, peak=lambda: None if self.computes is None else PEAKS[self.computes]),
            modules_of=lambda network: [network.layers],
            drop_caches=self._drop_caches,
        )

    def _drop_caches(self, network: Network) -> None:
        network.cache.clear()
        self.used = min(self.used, 300)

    def turn(self, workload: Workload | None, work: Callable[[Any], None] = lambda turn: None) -> torch.Tensor:
        """What a job makes."""
        with self.tenant.turn("v", workload=workload) as turn:
            self.computes = workload
            work(turn)
            return turn.model()


def granted(status: pb.ArbiterStatus) -> dict[str, int]:
    return {lease.tenant: lease.granted_bytes for lease in status.leases}


async def drop_idle_weights(arbiter: Any) -> None:
    await arbiter.until(has(pb.LEASE_STATE_IDLE, "video"))
    await arbiter.stub.ReclaimMemory(pb.ReclaimMemoryRequest())
    await arbiter.until(nothing_held)


async def test_the_second_job_of_a_kind_is_granted_what_the_first_one_took(arbiter_process: Started) -> None:
    async with arbiter_process(ttl_s=PATIENT_TTL_S) as arbiter:
        video = Measured(arbiter)
        for workload, expected in ((SMALL, 700), (SMALL, 420), (LARGE, 700), (LARGE, 683)):
            await asyncio.to_thread(video.turn, workload)
            status = await arbiter.until(has(pb.LEASE_STATE_IDLE, "video"))
            assert granted(status) == {"video": expected}, workload
            await drop_idle_weights(arbiter)
        await video.tenant.close()
        # Also by a process that never measured it.
        other = Measured(arbiter)
        await asyncio.to_thread(other.turn, SMALL)
        assert granted(await arbiter.status()) == {"video": 420}
        # It may be too little for another kind, so that it asks anew.
        await asyncio.to_thread(other.turn, LARGE)
        assert granted(await arbiter.status()) == {"video": 683}
        assert other.load.loads == 2
        await asyncio.to_thread(other.turn, SMALL)
        assert (granted(await arbiter.status()), other.load.loads) == ({"video": 683}, 2)
        await other.tenant.close()


async def test_a_turn_that_failed_teaches_nothing(arbiter_process: Started) -> None:
    async with arbiter_process(ttl_s=PATIENT_TTL_S) as arbiter:
        video = Measured(arbiter)

        def fail(_: Any) -> None:
            raise RuntimeError("shapes do not match")

        def job() -> None:
            try:
                video.turn(SMALL, fail)
            except RuntimeError:
                return

        await asyncio.to_thread(job)
        await drop_idle_weights(arbiter)
        await asyncio.to_thread(video.turn, SMALL)
        assert granted(await arbiter.status()) == {"video": 700}
        await video.tenant.close()


async def test_idle_weights_stay_when_what_is_wanted_can_be_spared(arbiter_process: Started) -> None:
    async with arbiter_process(ttl_s=PATIENT_TTL_S) as arbiter:
        video, image = Measured(arbiter), residency(arbiter, "image", 500, Loader())
        before = await asyncio.to_thread(video.turn, SMALL)
        # More than may stay: its cache has to go.
        video.used = 600
        assert video.load.cache() == ["kept"]

        def use() -> None:
            with image.turn("i"):
                pass

        await asyncio.to_thread(use)
        status = await arbiter.status()
        assert granted(status) == {"video": 500, "image": 500}
        assert "shrunk" in [decision.action for decision in status.decisions]
        assert video.load.cache() == []
        after = await asyncio.to_thread(video.turn, SMALL)
        assert torch.equal(before, after)
        assert video.load.loads == 1
        await video.tenant.close()
        await image.close()


async def test_a_turn_gives_back_what_it_can_spare_and_goes_on(arbiter_process: Started) -> None:
    async with arbiter_process(ttl_s=PATIENT_TTL_S) as arbiter:
        video, image = Measured(arbiter), residency(arbiter, "image", 500, Loader())
        before = await asyncio.to_thread(video.turn, SMALL)
        served = asyncio.Event()
        loop = asyncio.get_running_loop()

        def steps(turn: Any) -> None:
            def use() -> None:
                with image.turn("i"):
                    loop.call_soon_threadsafe(served.set)

            other = loop.run_in_executor(None, use)
            asyncio.run_coroutine_threadsafe(_served(turn, served), loop).result()
            del other

        after = await asyncio.to_thread(video.turn, SMALL, steps)
        assert torch.equal(before, after)
        assert granted(await arbiter.status()) == {"video": 500, "image": 500}
        assert video.load.loads == 1
        assert video.load.cache() == ["kept"], "a turn's caches are in use"
        await video.tenant.close()
        await image.close()


async def _served(turn: Any, served: asyncio.Event) -> None:
    """Steps until the neighbour has its memory."""
    async with asyncio.timeout(20):
        while not served.is_set():
            await asyncio.to_thread(turn.check)
            await asyncio.sleep(0.005)


async def test_weights_go_when_less_can_be_spared_than_is_wanted(arbiter_process: Started) -> None:
    async with arbiter_process(ttl_s=PATIENT_TTL_S) as arbiter:
        video, image = Measured(arbiter), residency(arbiter, "image", 700, Loader())
        before = await asyncio.to_thread(video.turn, SMALL)

        def use() -> None:
            with image.turn("i"):
                pass

        await asyncio.to_thread(use)
        assert granted(await arbiter.status()) == {"image": 700}
        after = await asyncio.to_thread(video.turn, SMALL)
        assert video.load.loads == 2
        assert before.shape == after.shape
        await video.tenant.close()
        await image.close()
