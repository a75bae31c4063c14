"""Holders and arbiters that are killed, stopped and lost."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest
from milimo.v1 import arbiter_pb2 as pb
from milimo_runtime.lease_terms import LeaseLost

from .holders import TTL_S, hold, holder_process, told, waits_for

if TYPE_CHECKING:
    from .holders import Started


async def test_a_holder_outlives_the_arbiter_and_nobody_else_gets_its_memory(arbiter_process: Started) -> None:
    # However slowly a busy machine starts the next one: the grace window ends early, because the holder comes back.
    async with arbiter_process(ttl_s=60.0) as arbiter:
        lease = await hold(arbiter, "video", 700)
        await arbiter.kill()
        lease.check()
        await arbiter.start()
        waiter = asyncio.create_task(hold(arbiter, "image", 500))
        status = await arbiter.until(lambda status: waits_for("image")(status) and not status.HasField("grace_until"))
        assert [(one.tenant, one.fencing_token) for one in status.leases] == [("video", lease.grant.fencing_token)]
        assert "resumed" in [decision.action for decision in status.decisions]
        lease.check()
        assert not waiter.done()
        await lease.release()
        image = await waiter
        assert image.grant.fencing_token > lease.grant.fencing_token
        await image.release()


async def test_a_lease_ends_by_itself_when_the_arbiter_stays_away(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter:
        changed = asyncio.Event()
        lease = await hold(arbiter, "video", 700, on_change=changed.set)
        await arbiter.kill()
        killed = time.monotonic()
        async with asyncio.timeout(10):
            await changed.wait()
        assert lease.lost is not None
        assert time.monotonic() - killed < TTL_S, "the holder stops before the arbiter would"
        with pytest.raises(LeaseLost, match="has not answered"):
            lease.check()
        await arbiter.start()
        await lease.release()
        assert not (await arbiter.status()).leases, "what a lost holder frees is free"


async def test_memory_that_nobody_claims_after_a_restart_stays_occupied_while_its_process_lives(
    arbiter_process: Started,
) -> None:
    async with arbiter_process() as arbiter, holder_process(arbiter, "video", 700) as holder:
        token = await told(holder, "token")
        holder.send_signal(signal.SIGSTOP)
        await arbiter.kill()
        await arbiter.start()
        waiter = asyncio.create_task(hold(arbiter, "image", 500))
        status = await arbiter.until(
            lambda status: bool(status.leases and status.leases[0].state == pb.LEASE_STATE_QUARANTINED)
        )
        assert status.leases[0].fencing_token == token
        assert not waiter.done()
        holder.kill()
        image = await waiter
        assert image.grant.fencing_token > token
        await image.release()


async def test_the_next_waiter_is_granted_when_a_killed_holder_is_gone(arbiter_process: Started) -> None:
    async with arbiter_process() as arbiter, holder_process(arbiter, "video", 700) as holder:
        token = await told(holder, "token")
        waiter = asyncio.create_task(hold(arbiter, "image", 500))
        await arbiter.until(waits_for("image"))
        killed = time.monotonic()
        holder.kill()
        image = await waiter
        assert time.monotonic() - killed < TTL_S / 2, "the death of the process is what counts, not the TTL"
        assert image.grant.fencing_token > token
        actions = [decision.action for decision in (await arbiter.status()).decisions]
        assert actions[-2:] == ["freed", "granted"]
        await image.release()


async def test_a_stopped_holder_notices_by_itself_and_its_memory_is_not_lent_meanwhile(
    arbiter_process: Started,
) -> None:
    async with arbiter_process() as arbiter, holder_process(arbiter, "video", 700) as holder:
        await told(holder, "token")
        holder.send_signal(signal.SIGSTOP)
        waiter = asyncio.create_task(hold(arbiter, "image", 500))
        status = await arbiter.until(
            lambda status: bool(status.leases and status.leases[0].state == pb.LEASE_STATE_QUARANTINED)
        )
        assert (status.devices[0].quarantined_bytes, status.devices[0].free_bytes) == (700, 300)
        assert not waiter.done(), "it may wake up and go on at any moment"
        holder.send_signal(signal.SIGCONT)
        assert await told(holder, "lost")
        assert await told(holder, "released")
        await (await waiter).release()
        assert await holder.wait() == 0
