"""Jobs of one tenant that wait when it gets the memory follow each other, though somebody else waits too."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from .weights import PATIENCE_S, Loader, nothing_held, residency

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Started = Callable[[], AbstractAsyncContextManager[Any]]


async def test_jobs_that_waited_for_the_grant_are_one_batch(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        load = Loader()
        tenants = {"video": residency(arbiter, "video", 700, load), "image": residency(arbiter, "image", 500, Loader())}
        go, running = threading.Event(), threading.Event()
        order: list[str] = []

        def first() -> None:
            with tenants["image"].turn("first"):
                running.set()
                assert go.wait(PATIENCE_S)

        queued = [threading.Event() for _ in range(4)]

        def job(tenant: str, number: int) -> None:
            with tenants[tenant].turn(f"{tenant}-{number}", on_waiting=lambda _: queued[number].set()):
                order.append(tenant)

        jobs = [asyncio.create_task(asyncio.to_thread(first))]
        assert await asyncio.to_thread(running.wait, PATIENCE_S)
        jobs += [asyncio.create_task(asyncio.to_thread(job, "video", number)) for number in range(3)]
        for event in queued[:3]:
            assert await asyncio.to_thread(event.wait, PATIENCE_S)
        await arbiter.until(lambda status: len(status.queue) == 1)
        jobs.append(asyncio.create_task(asyncio.to_thread(job, "image", 3)))
        assert await asyncio.to_thread(queued[3].wait, PATIENCE_S)
        go.set()
        await asyncio.gather(*jobs)
        # Whether the one behind it belongs to the first batch of the image's is the arbiter's business.
        assert order in (["video"] * 3 + ["image"], ["image"] + ["video"] * 3)
        assert len(load.loaded) == 1, "three jobs, one load"
        for tenant in tenants.values():
            await tenant.close()
        await arbiter.until(nothing_held)
