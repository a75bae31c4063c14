"""Work that runs out of memory: others make room, it is tried once more, and then it says who holds what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import torch
from milimo.v1 import arbiter_pb2 as pb
from milimo_runtime.lease_terms import Grant
from milimo_runtime.out_of_memory import OutOfMemory, describe_holders, is_out_of_memory

from .weights import Loader, Weights, has, nothing_held, residency

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Started = Callable[[], AbstractAsyncContextManager[Any]]
    Check = Callable[[], None]

TOO_MUCH = 1 << 60


def exhaust() -> None:
    """Has torch's allocator for host memory refuse."""
    torch.empty(TOO_MUCH, dtype=torch.uint8)


async def _idle_neighbour(arbiter: Any, loader: Loader) -> Any:
    """Another tenant, whose weights are warm and of use to nobody now."""
    image = residency(arbiter, "image", 300, loader)

    def job() -> None:
        with image.turn("i"):
            pass

    await asyncio.to_thread(job)
    await arbiter.until(has(pb.LEASE_STATE_IDLE, "image"))
    return image


async def test_a_job_is_tried_again_when_idle_weights_have_made_room(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        idle = Loader()
        image = await _idle_neighbour(arbiter, idle)
        video = residency(arbiter, "video", 500, Loader())
        heard: list[str] = []
        neighbours: list[int] = []

        def work() -> str:
            neighbours.append(idle.alive)
            if len(neighbours) == 1:
                exhaust()
            return "made"

        def job() -> str:
            with video.turn("v") as turn:
                return turn.with_room(work, heard.append)

        assert await asyncio.to_thread(job) == "made"
        assert neighbours == [1, 0], "the second time the idle weights were gone"
        assert len(heard) == 1
        assert "can't allocate memory" in heard[0]
        await video.close()
        await image.close()


async def test_a_job_that_runs_out_again_fails_with_who_holds_what(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        load = Loader()
        video = residency(arbiter, "video", 500, load)
        attempts: list[None] = []

        def work() -> None:
            attempts.append(None)
            exhaust()

        def job() -> None:
            with video.turn("v") as turn:
                turn.with_room(work)

        with pytest.raises(OutOfMemory) as caught:
            await asyncio.to_thread(job)
        assert len(attempts) == 2
        assert (caught.value.status, caught.value.reason) == ("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY")
        assert "On cpu:0: video 5e-07 GB (whole, busy" in caught.value.message
        assert caught.value.metadata["holders"] in caught.value.message
        # The weights are as good as before: the next job finds them.
        await arbiter.until(has(pb.LEASE_STATE_IDLE, "video"))
        assert len(load.loaded) == 1
        await video.close()


async def test_other_failures_are_not_tried_again(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        video = residency(arbiter, "video", 500, Loader())
        attempts: list[None] = []

        def work() -> None:
            attempts.append(None)
            raise RuntimeError("shapes do not match")

        def job() -> None:
            with video.turn("v") as turn:
                turn.with_room(work)

        with pytest.raises(RuntimeError, match="shapes do not match"):
            await asyncio.to_thread(job)
        assert len(attempts) == 1
        await video.close()


async def test_a_load_is_tried_again_under_the_same_lease(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        idle = Loader()
        image = await _idle_neighbour(arbiter, idle)
        grants: list[Grant] = []

        def load(grant: Grant, check: Check) -> Weights:
            grants.append(grant)
            if len(grants) == 1:
                exhaust()
            assert idle.alive == 0
            return Weights(grant)

        video = residency(arbiter, "video", 500, load)

        def job() -> None:
            with video.turn("v"):
                pass

        await asyncio.to_thread(job)
        assert grants[0] == grants[1]
        await video.close()
        await image.close()
        await arbiter.until(nothing_held)


async def test_a_load_that_never_fits_releases_the_lease(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:

        def load(grant: Grant, check: Check) -> Weights:
            exhaust()
            return Weights(grant)

        video = residency(arbiter, "video", 500, load)

        def job() -> None:
            with video.turn("v"):
                pass

        with pytest.raises(OutOfMemory):
            await asyncio.to_thread(job)
        assert nothing_held(await arbiter.status())
        await video.close()


KINDS: dict[str, tuple[BaseException, bool]] = {
    "torch's for devices": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
    "torch's for the host": (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 12"), True),
    "Python's": (MemoryError(), True),
    "another of torch's": (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    "something else": (ValueError("DefaultCPUAllocator: can't allocate memory"), False),
}


@pytest.mark.parametrize(("error", "expected"), KINDS.values(), ids=KINDS)
def test_what_counts_as_running_out(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_the_plan_names_everybody_on_the_device_and_nobody_else() -> None:
    status = pb.ArbiterStatus(
        devices=[
            pb.DeviceStatus(
                device="cuda:0",
                total_bytes=80 * 10**9,
                free_bytes=10**9,
                quarantined_bytes=2 * 10**9,
                external_bytes=3 * 10**9,
            ),
            pb.DeviceStatus(device="cuda:1", total_bytes=7 * 10**9),
        ],
        leases=[
            pb.LeaseStatus(
                tenant="video",
                device="cuda:0",
                footprint="bf16",
                granted_bytes=45 * 10**9,
                measured_bytes=44 * 10**9,
                state=pb.LEASE_STATE_BUSY,
            ),
            pb.LeaseStatus(tenant="image", device="cuda:1", footprint="bf16", granted_bytes=6 * 10**9),
        ],
    )
    assert describe_holders(status, "cuda:0") == (
        "On cuda:0: video 45 GB (bf16, busy, 44 GB measured); in quarantine 2 GB; other programs 3 GB; "
        "free 1 GB of 80 GB. Ask for less, or end what holds the rest"
    )
