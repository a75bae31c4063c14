"""A tenant that ends, whatever its jobs and the arbiter do."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from milimo_runtime.lease_terms import Grant, LeaseLost

from .weights import PATIENCE_S, TTL_S, Loader, Weights, residency

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Started = Callable[[], AbstractAsyncContextManager[Any]]
    Check = Callable[[], None]
    Load = Callable[[Grant, Check], "Weights"]


async def test_closing_does_not_wait_for_an_arbiter_that_is_gone(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        load = Loader()
        video = residency(arbiter, "video", 700, load)

        def job() -> None:
            with video.turn("v"):
                pass

        await asyncio.to_thread(job)
        await arbiter.kill()
        started = time.monotonic()
        await video.close()
        assert time.monotonic() - started < TTL_S
        assert load.alive == 0


async def test_closing_does_not_wait_for_a_job_in_the_queue_of_an_arbiter_that_is_gone(
    arbiter_process: Started,
) -> None:
    async with arbiter_process() as arbiter:
        await arbiter.kill()
        video, waiting = residency(arbiter, "video", 700, Loader()), threading.Event()

        def job() -> None:
            with video.turn("v", on_waiting=lambda _: waiting.set()):
                pytest.fail("nobody grants anything")

        running = asyncio.create_task(asyncio.to_thread(job))
        assert await asyncio.to_thread(waiting.wait, PATIENCE_S)
        started = time.monotonic()
        await video.close()
        assert time.monotonic() - started < TTL_S
        with pytest.raises(LeaseLost, match="shutting down"):
            await running


async def test_closing_leaves_a_turn_that_does_not_end_and_its_memory_is_not_lent(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        video = residency(arbiter, "video", 700, Loader())
        running, go = threading.Event(), threading.Event()

        def job() -> None:
            with video.turn("v") as turn:
                running.set()
                assert go.wait(PATIENCE_S)
                turn.check()

        stuck = asyncio.create_task(asyncio.to_thread(job))
        assert await asyncio.to_thread(running.wait, PATIENCE_S)
        started = time.monotonic()
        await video.close(0.2)
        assert 0.2 <= time.monotonic() - started < TTL_S
        assert [lease.granted_bytes for lease in (await arbiter.status()).leases] == [700]
        go.set()
        with pytest.raises(LeaseLost, match="given it up"):
            await stuck
