"""Turns on weights that come and go with a lease, in real threads against a real arbiter."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from milimo.v1 import arbiter_pb2 as pb
from milimo_runtime.lease_terms import Grant, LeaseLost, Priority, QueuePlace
from milimo_runtime.observer import JobCancelled

from .weights import PATIENCE_S, Loader, Weights, has, nothing_held, residency

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from milimo_runtime.residency import Residency

    Started = Callable[[], AbstractAsyncContextManager[Any]]
    Check = Callable[[], None]
    Load = Callable[[Grant, Check], "Weights"]


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
        running = threading.Event()
        waiting = {name: threading.Event() for name in ("low", "normal", "high")}
        # By the place of the job that waits longest: what it hears is the newest, not all that was.
        moved = {position: threading.Event() for position in (1, 2, 3)}
        places: dict[str, list[QueuePlace]] = {name: [] for name in waiting}

        def first() -> None:
            with video.turn("first"):
                running.set()
                assert go.wait(PATIENCE_S)

        def later(name: str, priority: Priority) -> None:
            def told(place: QueuePlace) -> None:
                places[name].append(place)
                waiting[name].set()
                if name == "low":
                    moved[place.position].set()

            with video.turn(name, priority, told):
                order.append(name)

        jobs = [asyncio.create_task(asyncio.to_thread(first))]
        assert await asyncio.to_thread(running.wait, PATIENCE_S)
        queue = (("low", Priority.LOW), ("normal", Priority.NORMAL), ("high", Priority.HIGH))
        for place, (name, priority) in enumerate(queue, start=1):
            jobs.append(asyncio.create_task(asyncio.to_thread(later, name, priority)))
            assert await asyncio.to_thread(waiting[name].wait, PATIENCE_S)
            assert await asyncio.to_thread(moved[place].wait, PATIENCE_S)
        status = await arbiter.until(lambda status: bool(status.leases and status.leases[0].waiting_jobs == 3))
        assert status.leases[0].job_id == "first"
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
