"""Weights that come and go with a lease, in real threads against a real arbiter."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from milimo.v1 import arbiter_pb2 as pb
from milimo_runtime.lease_terms import Grade, Grant, LeaseLost, Priority, QueuePlace
from milimo_runtime.observer import JobCancelled
from milimo_runtime.residency import Residency

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Started = Callable[[], AbstractAsyncContextManager[Any]]
    Check = Callable[[], None]
    Load = Callable[[Grant, Check], "Weights"]

PATIENCE_S = 20.0
# After so long without an answer the arbiter of these tests takes a holder for lost.
TTL_S = 2.0


class Weights:
    """A model that can be watched as it goes."""

    def __init__(self, grant: Grant) -> None:
        self.grant = grant


class Loader:
    """Loads weights and remembers how often, and which are still there."""

    def __init__(self) -> None:
        self.loaded: list[weakref.ref[Weights]] = []

    def __call__(self, grant: Grant, check: Check) -> Weights:
        weights = Weights(grant)
        self.loaded.append(weakref.ref(weights))
        return weights

    @property
    def alive(self) -> int:
        return sum(reference() is not None for reference in self.loaded)


def residency(arbiter: Any, tenant: str, size: int, load: Load) -> Residency[Weights]:
    return Residency(
        loop=asyncio.get_running_loop(),
        channel=arbiter.channel,
        tenant=tenant,
        grades=[Grade(name="whole", bytes=size)],
        load=load,
        measure=lambda: size,
    )


def has(state: pb.LeaseState.ValueType, tenant: str) -> Callable[[pb.ArbiterStatus], bool]:
    return lambda status: any(lease.tenant == tenant and lease.state == state for lease in status.leases)


def nothing_held(status: pb.ArbiterStatus) -> bool:
    return not status.leases and not status.queue


async def test_weights_stay_warm_between_turns(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        load = Loader()
        video = residency(arbiter, "video", 700, load)

        def job(job_id: str) -> int:
            with video.turn(job_id) as turn:
                turn.check()
                assert not turn.should_yield
                assert turn.grant.grade == "whole"
                return turn.model.grant.fencing_token

        tokens = {await asyncio.to_thread(job, f"j{index}") for index in range(3)}
        assert len(tokens) == len(load.loaded) == 1
        status = await arbiter.until(has(pb.LEASE_STATE_IDLE, "video"))
        assert status.leases[0].measured_bytes == 700
        await video.close()
        assert load.alive == 0
        await arbiter.until(nothing_held)


async def test_a_finished_turn_gives_nothing_away(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        video = residency(arbiter, "video", 700, Loader())

        def job() -> Any:
            with video.turn("j") as turn:
                return turn

        turn = await asyncio.to_thread(job)
        with pytest.raises(LeaseLost):
            turn.check()
        with pytest.raises(LeaseLost):
            _ = turn.model
        await video.close()


async def test_idle_weights_go_when_somebody_else_needs_the_memory(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        load = Loader()
        video, image = residency(arbiter, "video", 700, load), residency(arbiter, "image", 500, Loader())

        def job(tenant: Residency[Weights], job_id: str) -> int:
            with tenant.turn(job_id) as turn:
                return turn.grant.fencing_token

        first = await asyncio.to_thread(job, video, "v")
        second = await asyncio.to_thread(job, image, "i")
        assert (load.alive, second) == (0, first + 1)
        assert video.grant is None
        await video.close()
        await image.close()


async def test_a_busy_job_is_asked_to_yield_and_goes_on_later(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        load = Loader()
        video, image = residency(arbiter, "video", 700, load), residency(arbiter, "image", 500, Loader())
        started, asked = threading.Event(), threading.Event()
        order: list[str] = []

        def chunks() -> None:
            with video.turn("v") as turn:
                started.set()
                while not turn.should_yield:
                    turn.check()
                    asked.wait(0.01)
                order.append("first chunk")
            with video.turn("v") as turn:
                turn.check()
                order.append("second chunk")

        def single() -> None:
            with image.turn("i"):
                order.append("image")

        long = asyncio.create_task(asyncio.to_thread(chunks))
        assert await asyncio.to_thread(started.wait, PATIENCE_S)
        await asyncio.gather(long, asyncio.to_thread(single))
        assert order == ["first chunk", "image", "second chunk"]
        assert len(load.loaded) == 2
        await video.close()
        await image.close()


async def test_local_jobs_wait_by_priority_and_see_their_place(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        video = residency(arbiter, "video", 700, Loader())
        go, order = threading.Event(), list[str]()
        running, third = threading.Event(), threading.Event()
        waiting = {name: threading.Event() for name in ("low", "normal", "high")}
        places: dict[str, list[QueuePlace]] = {name: [] for name in waiting}

        def first() -> None:
            with video.turn("first"):
                running.set()
                assert go.wait(PATIENCE_S)

        def later(name: str, priority: Priority) -> None:
            def told(place: QueuePlace) -> None:
                places[name].append(place)
                waiting[name].set()
                if place.position == 3:
                    third.set()

            with video.turn(name, priority, told):
                order.append(name)

        jobs = [asyncio.create_task(asyncio.to_thread(first))]
        assert await asyncio.to_thread(running.wait, PATIENCE_S)
        for name, priority in (("low", Priority.LOW), ("normal", Priority.NORMAL), ("high", Priority.HIGH)):
            jobs.append(asyncio.create_task(asyncio.to_thread(later, name, priority)))
            assert await asyncio.to_thread(waiting[name].wait, PATIENCE_S)
        status = await arbiter.until(lambda status: bool(status.leases and status.leases[0].waiting_jobs == 3))
        assert status.leases[0].job_id == "first"
        assert await asyncio.to_thread(third.wait, PATIENCE_S)
        go.set()
        await asyncio.gather(*jobs)
        assert order == ["high", "normal", "low"]
        assert places["low"][0] == QueuePlace(position=1, reason="video is busy on job first")
        assert {place.position for place in places["low"]} >= {1, 2, 3}
        assert {place.position for place in places["high"]} == {1}
        await video.close()


async def test_a_job_that_is_cancelled_leaves_the_local_queue_at_once(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        video = residency(arbiter, "video", 700, Loader())
        running, go, queued, cancelled = (threading.Event() for _ in range(4))

        def first() -> None:
            with video.turn("first"):
                running.set()
                assert go.wait(PATIENCE_S)

        def second() -> None:
            def told(_: QueuePlace) -> None:
                queued.set()
                if cancelled.is_set():
                    raise JobCancelled

            with video.turn("second", on_waiting=told):
                pytest.fail("it was cancelled")

        one = asyncio.create_task(asyncio.to_thread(first))
        assert await asyncio.to_thread(running.wait, PATIENCE_S)
        two = asyncio.create_task(asyncio.to_thread(second))
        assert await asyncio.to_thread(queued.wait, PATIENCE_S)
        cancelled.set()
        video.wake("second")
        with pytest.raises(JobCancelled):
            await two
        assert video.waiting_jobs == 0
        go.set()
        await one
        await arbiter.until(has(pb.LEASE_STATE_IDLE, "video"))
        await video.close()


async def test_a_job_that_is_cancelled_leaves_the_arbiters_queue_at_once(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        video, image = residency(arbiter, "video", 700, Loader()), residency(arbiter, "image", 500, Loader())
        running, go, queued, cancelled = (threading.Event() for _ in range(4))

        def busy() -> None:
            with video.turn("v"):
                running.set()
                assert go.wait(PATIENCE_S)

        def waits() -> None:
            def told(place: QueuePlace) -> None:
                if place.position:
                    queued.set()
                if cancelled.is_set():
                    raise JobCancelled

            with image.turn("i", on_waiting=told):
                pytest.fail("it was cancelled")

        one = asyncio.create_task(asyncio.to_thread(busy))
        assert await asyncio.to_thread(running.wait, PATIENCE_S)
        two = asyncio.create_task(asyncio.to_thread(waits))
        assert await asyncio.to_thread(queued.wait, PATIENCE_S)
        cancelled.set()
        image.wake("i")
        with pytest.raises(JobCancelled):
            await two
        await arbiter.until(lambda status: not status.queue)
        go.set()
        await one
        await video.close()
        await image.close()
        await arbiter.until(nothing_held)


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


async def test_tenants_that_exclude_each_other_take_turns_and_everybody_gets_one(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        loaders = {"video": Loader(), "image": Loader()}
        tenants = {name: residency(arbiter, name, 700, load) for name, load in loaders.items()}
        together: list[int] = []
        done: list[str] = []
        beat = threading.Event()

        def job(name: str, index: int) -> None:
            with tenants[name].turn(f"{name}-{index}") as turn:
                for _ in range(3):
                    turn.check()
                    together.append(sum(load.alive for load in loaders.values()))
                    beat.wait(0.005)
                done.append(name)

        await asyncio.gather(
            *(asyncio.to_thread(job, name, index) for index in range(5) for name in tenants),
        )
        assert sorted(done) == ["image"] * 5 + ["video"] * 5
        assert set(together) == {1}, "never the weights of both at once"
        for tenant in tenants.values():
            await tenant.close()
        await arbiter.until(nothing_held)


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


async def test_waking_a_job_that_does_not_wait_leaves_nothing_behind(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        video = residency(arbiter, "video", 700, Loader())
        job_id = "".join(["call", "-", "1"])

        def job() -> None:
            with video.turn(job_id):
                pass

        def woken() -> int:
            """What more refers to the id after the call."""
            before = sys.getrefcount(job_id)
            video.wake(job_id)
            return sys.getrefcount(job_id) - before

        assert woken() == 0
        await asyncio.to_thread(job)
        await arbiter.until(has(pb.LEASE_STATE_IDLE, "video"))
        assert woken() == 0
        await video.close()


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
