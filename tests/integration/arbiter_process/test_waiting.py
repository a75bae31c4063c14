"""Those who wait, and those who make room for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from milimo_runtime.lease_terms import Priority

from .holders import hold, waits_for

if TYPE_CHECKING:
    from .holders import Started


async def test_positions_are_told_as_they_change_and_a_cancelled_request_leaves_at_once(
    arbiter_process: Started,
) -> None:
    async with arbiter_process() as arbiter:
        lease = await hold(arbiter, "video", 1_000)
        heard: dict[str, list[int]] = {"first": [], "second": [], "urgent": []}
        first = asyncio.create_task(hold(arbiter, "first", 900, places=heard["first"]))
        await arbiter.until(waits_for("first"))
        second = asyncio.create_task(hold(arbiter, "second", 900, places=heard["second"]))
        await arbiter.until(waits_for("second"))
        urgent = asyncio.create_task(hold(arbiter, "urgent", 900, places=heard["urgent"], priority=Priority.HIGH))
        status = await arbiter.until(waits_for("urgent"))
        assert [(one.tenant, one.position) for one in status.queue] == [("urgent", 1), ("first", 2), ("second", 3)]
        urgent.cancel()
        first.cancel()
        status = await arbiter.until(lambda status: len(status.queue) == 1)
        assert [(one.tenant, one.position) for one in status.queue] == [("second", 1)]
        assert status.queue[0].reason == "video is busy on job job of video"
        await lease.release()
        await (await second).release()
        # The first to come was passed by the urgent one; both were gone in an order that only they know.
        assert heard["second"][0] == 2
        assert heard["second"][-1] == 1
        assert (heard["first"][:2], heard["urgent"]) == ([1, 2], [1])


async def test_an_idle_holder_is_asked_and_a_waiter_gets_its_memory(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        asked = asyncio.Event()
        lease = await hold(arbiter, "video", 700, on_change=asked.set)
        await lease.idle()
        waiter = asyncio.create_task(hold(arbiter, "image", 500))
        async with asyncio.timeout(10):
            await asked.wait()
        assert lease.wish is not None
        assert lease.wish.bytes == 200
        assert lease.wish.reason == "image waits for 500 bytes"
        await lease.shrink(200)
        image = await waiter
        sums = (await arbiter.status()).devices[0]
        assert (sums.granted_bytes, sums.free_bytes) == (1_000, 0)
        await lease.release()
        await image.release()
