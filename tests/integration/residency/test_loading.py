"""Loads that fail, are cancelled or lose their lease."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from milimo.v1 import arbiter_pb2 as pb
from milimo_runtime.lease_terms import Grant, LeaseLost, QueuePlace
from milimo_runtime.observer import JobCancelled

from .weights import PATIENCE_S, Loader, Weights, nothing_held, residency

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Started = Callable[[], AbstractAsyncContextManager[Any]]
    Check = Callable[[], None]
    Load = Callable[[Grant, Check], "Weights"]


class Broken(Exception):
    """What a load fails with."""


async def test_a_load_that_fails_releases_the_lease(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        attempts: list[Grant] = []

        def load(grant: Grant, check: Check) -> Weights:
            attempts.append(grant)
            if len(attempts) == 1:
                raise Broken
            return Weights(grant)

        video = residency(arbiter, "video", 700, load)

        def job() -> None:
            with video.turn("j"):
                pass

        with pytest.raises(Broken):
            await asyncio.to_thread(job)
        assert nothing_held(await arbiter.status())
        await asyncio.to_thread(job)
        assert attempts[1].fencing_token > attempts[0].fencing_token
        await video.close()


async def test_a_turn_ends_when_the_lease_is_lost_and_the_next_one_loads_anew(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        load = Loader()
        video = residency(arbiter, "video", 700, load)
        running = threading.Event()

        def steps(clock: threading.Event) -> None:
            with video.turn("j") as turn:
                model = turn.model
                running.set()
                while not clock.wait(0.01):
                    turn.check()
                assert model is not None

        job = asyncio.create_task(asyncio.to_thread(steps, threading.Event()))
        assert await asyncio.to_thread(running.wait, PATIENCE_S)
        lease_id = (await arbiter.status()).leases[0].lease_id
        await arbiter.stub.RevokeLease(pb.RevokeLeaseRequest(lease_id=lease_id, reason="for a test"))
        with pytest.raises(LeaseLost, match="for a test"):
            await job
        await arbiter.until(nothing_held)
        done = threading.Event()
        done.set()
        await asyncio.to_thread(steps, done)
        assert len(load.loaded) == 2
        await video.close()
        assert load.alive == 0


async def test_a_job_that_is_cancelled_stops_the_load_between_parts(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        loading, cancelled = threading.Event(), threading.Event()
        parts: list[weakref.ref[Weights]] = []
        places: list[QueuePlace] = []

        def load(grant: Grant, check: Check) -> Weights:
            kept = []
            for _ in range(2):
                check()
                kept.append(Weights(grant))
                parts.append(weakref.ref(kept[-1]))
                loading.set()
                assert cancelled.wait(PATIENCE_S)
            return kept[0]

        video = residency(arbiter, "video", 700, load)

        def told(place: QueuePlace) -> None:
            places.append(place)
            if cancelled.is_set():
                raise JobCancelled

        def job() -> None:
            with video.turn("v", on_waiting=told):
                pytest.fail("it was cancelled")

        running = asyncio.create_task(asyncio.to_thread(job))
        assert await asyncio.to_thread(loading.wait, PATIENCE_S)
        assert places[-1] == QueuePlace(position=0, reason="video loads its weights")
        cancelled.set()
        with pytest.raises(JobCancelled):
            await running
        assert [part() for part in parts] == [None], "one part was loaded, and it is gone"
        assert nothing_held(await arbiter.status())
        await video.close()


async def test_a_load_stops_between_parts_when_the_lease_is_lost(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        loading, step = threading.Event(), threading.Event()

        def load(grant: Grant, check: Check) -> Weights:
            while not step.wait(0.005):
                check()
                loading.set()
            return Weights(grant)

        video = residency(arbiter, "video", 700, load)

        def job() -> None:
            with video.turn("v"):
                pytest.fail("the lease was lost")

        running = asyncio.create_task(asyncio.to_thread(job))
        assert await asyncio.to_thread(loading.wait, PATIENCE_S)
        lease_id = (await arbiter.status()).leases[0].lease_id
        await arbiter.stub.RevokeLease(pb.RevokeLeaseRequest(lease_id=lease_id, reason="for a test"))
        with pytest.raises(LeaseLost, match="for a test"):
            await running
        await arbiter.until(nothing_held)
        await video.close()
