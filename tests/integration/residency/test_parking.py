"""Weights that leave the device wait in host memory that a real arbiter lends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import torch
from milimo.v1 import arbiter_pb2 as pb
from milimo_runtime.lease_terms import Grade, Grant, LeaseLost
from milimo_runtime.observer import JobCancelled
from milimo_runtime.residency import Residency
from milimo_runtime.turn_memory import TurnMemory

from .networks import Network, Networks
from .weights import Loader, has, nothing_held, residency

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from milimo_runtime.lease_terms import QueuePlace

    Started = Callable[[], AbstractAsyncContextManager[Any]]
    Check = Callable[[], None]


def parking(
    arbiter: Any, load: Networks, *, size: int = 700, grades: tuple[str, ...] = ("whole",)
) -> Residency[Network]:
    return Residency(
        loop=asyncio.get_running_loop(),
        channel=arbiter.channel,
        tenant="video",
        grades=[Grade(name=name, bytes=size) for name in grades],
        load=load,
        memory=TurnMemory(lambda: size),
        modules_of=lambda network: [network.layers],
        drop_caches=lambda network: network.cache.clear(),
        parks=lambda _: True,
    )


def result_of(video: Residency[Network]) -> tuple[torch.Tensor, int]:
    """What a job makes, and under which token."""
    with video.turn("v") as turn:
        return turn.model(), turn.grant.fencing_token


def use(tenant: Residency[Any]) -> None:
    with tenant.turn("i"):
        pass


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILIMO_ARBITER_PARKING_BYTES", "2000")


@pytest.mark.usefixtures("lent")
async def test_a_job_makes_the_same_before_and_after_its_weights_were_parked(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        load = Networks()
        video, image = parking(arbiter, load), residency(arbiter, "image", 500, Loader())
        before, first = await asyncio.to_thread(result_of, video)
        for _ in range(2):
            await asyncio.to_thread(use, image)
            assert video.grant is None
            status = await arbiter.status()
            assert 0 < video.parked_bytes <= status.parked_bytes <= 2_000
            after, second = await asyncio.to_thread(result_of, video)
            assert torch.equal(before, after)
            assert second > first
            assert video.parked_bytes == 0
            assert (await arbiter.status()).parked_bytes == 0
            first = second
        assert load.loads == 1
        await video.close()
        await image.close()
        await arbiter.until(nothing_held)


async def test_without_host_memory_the_weights_are_dropped(
    arbiter_process: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILIMO_ARBITER_PARKING_BYTES", "100")
    async with arbiter_process() as arbiter:
        load = Networks()
        video, image = parking(arbiter, load), residency(arbiter, "image", 500, Loader())
        await asyncio.to_thread(result_of, video)
        await asyncio.to_thread(use, image)
        assert video.parked_bytes == 0
        await asyncio.to_thread(result_of, video)
        assert load.loads == 2
        await video.close()
        await image.close()


@pytest.mark.usefixtures("lent")
async def test_weights_of_a_lost_lease_are_not_parked(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        load = Networks()
        video = parking(arbiter, load)
        await asyncio.to_thread(result_of, video)
        status = await arbiter.until(has(pb.LEASE_STATE_IDLE, "video"))
        await arbiter.stub.RevokeLease(pb.RevokeLeaseRequest(lease_id=status.leases[0].lease_id))
        await arbiter.until(nothing_held)
        assert (video.parked_bytes, (await arbiter.status()).parked_bytes) == (0, 0)
        await asyncio.to_thread(result_of, video)
        assert load.loads == 2
        await video.close()


@pytest.mark.usefixtures("lent")
async def test_a_job_that_is_cancelled_as_its_weights_come_back_leaves_them_parked(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        load = Networks()
        video, image = parking(arbiter, load), residency(arbiter, "image", 500, Loader())
        before, _ = await asyncio.to_thread(result_of, video)
        await asyncio.to_thread(use, image)
        await image.close()

        def cancelled() -> None:
            def look(place: QueuePlace) -> None:
                if "loads its weights" in place.reason:
                    raise JobCancelled

            with video.turn("v", on_waiting=look):
                pytest.fail("it was cancelled")

        with pytest.raises(JobCancelled):
            await asyncio.to_thread(cancelled)
        assert video.parked_bytes > 0
        after, _ = await asyncio.to_thread(result_of, video)
        assert torch.equal(before, after)
        assert load.loads == 1
        await video.close()


@pytest.mark.usefixtures("lent")
async def test_what_cannot_be_parked_is_dropped(arbiter_process: Started) -> None:
    class Special(torch.Tensor):
        """A tensor that is more than its bytes."""

    class Odd(Networks):
        def __call__(self, grant: Grant, check: Check) -> Network:
            network = super().__call__(grant, check)
            network.layers.register_buffer("special", torch.ones(3).as_subclass(Special))
            return network

    async with arbiter_process() as arbiter:
        load = Odd()
        video, image = parking(arbiter, load), residency(arbiter, "image", 500, Loader())
        await asyncio.to_thread(result_of, video)
        await asyncio.to_thread(use, image)
        assert (video.parked_bytes, (await arbiter.status()).parked_bytes) == (0, 0)
        await asyncio.to_thread(result_of, video)
        assert load.loads == 2
        await video.close()
        await image.close()


@pytest.mark.usefixtures("lent")
async def test_a_residency_that_closes_keeps_nothing(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        video, image = parking(arbiter, Networks()), residency(arbiter, "image", 500, Loader())
        await asyncio.to_thread(result_of, video)
        await asyncio.to_thread(use, image)
        assert video.parked_bytes > 0
        await video.close()
        assert video.parked_bytes == 0
        with pytest.raises(LeaseLost):
            await asyncio.to_thread(result_of, video)
        await image.close()
